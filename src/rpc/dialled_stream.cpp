#include "rpc/dialled_stream.h"

#include <utility>

#include "net/grpc_status.h"
#include "rpc/channel.h"

namespace podmirror::rpc {

Status DialledStream::Dial(sync::ConnId conn, const std::string& target, sync::Driver& driver,
                           StreamSet& streams) {
  const auto stream = std::make_shared<DialledStream>(conn, target, driver, streams);
  Status status = streams.Add(conn, stream, StreamSet::kMaxWithDialled);
  if (status.ok()) stream->Start();
  return status;
}

DialledStream::DialledStream(sync::ConnId conn, const std::string& target, sync::Driver& driver,
                             StreamSet& streams)
    : ExchangeStream(conn, driver, streams),
      channel_(NewChannel(target)),
      stub_(v1::Peer::NewStub(channel_)) {}

void DialledStream::Start() {
  stub_->async()->Exchange(&context_, this);
  AddHold();
  ReadFirst();
  StartCall();
  driver().Opened(conn());
  Pump();
}

// A call that the other side has ended must not be cancelled: its status could get lost.
void DialledStream::Cancel() {
  if (reason()) context_.TryCancel();
}

void DialledStream::End() {
  Cancel();
  RemoveHold();
}

void DialledStream::OnDone(const grpc::Status& status) {
  if (const std::optional<Status> ours = reason()) {
    Done(*ours);
  } else if (status.ok()) {
    Done({Code::kUnavailable, "stream ended by the peer"});
  } else {
    Done(net::FromGrpc(status));
  }
}

}  // namespace podmirror::rpc
