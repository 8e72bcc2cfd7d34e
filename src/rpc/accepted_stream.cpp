#include "rpc/accepted_stream.h"

#include <utility>

namespace podmirror::rpc {

void AcceptedStream::Accept(const std::shared_ptr<ServerCall>& call,
                            std::shared_ptr<const trust::Presented> presented,
                            const StreamContext& context) {
  const sync::ConnId conn = context.driver.Accept();
  const auto stream = std::make_shared<AcceptedStream>(conn, call, std::move(presented), context);
  if (const Status status = context.streams.Add(conn, stream, StreamSet::kMaxWithAccepted);
      !status.ok()) {
    context.driver.Closed(conn, status);
    call->Finish(status);
    return;
  }
  call->OnEnd([stream](bool) { stream->CallEnded(); });
  stream->Begin();
}

void AcceptedStream::EndCall() {
  call_->Finish(reason().value_or(Status()), [self = shared_from_this(), this](bool) { Ended(); });
}

}  // namespace podmirror::rpc
