#include "rpc/dialled_stream.h"

#include <utility>

#include "net/grpc_status.h"

namespace podmirror::rpc {

Status DialledStream::Dial(sync::ConnId conn, const Way& way, const StreamContext& context) {
  const auto stream = std::make_shared<DialledStream>(conn, way, context);
  Status status = context.streams.Add(conn, stream, StreamSet::kMaxWithDialled);
  if (status.ok()) stream->Start();
  return status;
}

DialledStream::DialledStream(sync::ConnId conn, const Way& way, const StreamContext& context)
    : ExchangeStream(conn, true, context), channel_(way, context.env) {}

void DialledStream::Start() {
  const auto self = shared_from_this();
  // The call starts with the first message, Hello.
  call_context_.set_initial_metadata_corked(true);
  context().queue.Start([&] {
    call_ =
        grpc::GenericStub(channel_.channel())
            .PrepareCall(&call_context_, "/podmirror.v1.Peer/Exchange", context().queue.queue());
    call_->StartCall(nullptr);
    // From the start on, so that the end of the call is told whatever else is in flight.
    call_->Finish(&status_, end_.Expect([self, this](bool) { CallEnded(); }));
  });
  context().driver.Opened(conn());
  Begin();
}

// A call that the other side has ended must not be cancelled: its status could get lost.
void DialledStream::Cancel() {
  if (reason()) call_context_.TryCancel();
}

void DialledStream::EndCall() {
  Cancel();
  Ended();
}

Status DialledStream::EndedBecause() const {
  if (status_.ok()) return {Code::kUnavailable, "stream ended by the peer"};
  return channel_.Outcome(net::FromGrpc(status_));
}

}  // namespace podmirror::rpc
