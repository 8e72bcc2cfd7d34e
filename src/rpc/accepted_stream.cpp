#include "rpc/accepted_stream.h"

#include "net/grpc_status.h"
#include "podmirror/v1/peer.grpc.pb.h"

namespace podmirror::rpc {
namespace {

// A call that is turned away.
class RefusedCall final : public grpc::ServerBidiReactor<v1::Frame, v1::Frame> {
 public:
  explicit RefusedCall(const Status& status) { Finish(net::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

class PeerService final : public v1::Peer::CallbackService {
 public:
  PeerService(sync::Driver& driver, StreamSet& streams) : driver_(driver), streams_(streams) {}

  grpc::ServerBidiReactor<v1::Frame, v1::Frame>* Exchange(
      grpc::CallbackServerContext* context) override {
    const sync::ConnId conn = driver_.Accept();
    const auto stream = std::make_shared<AcceptedStream>(conn, context, driver_, streams_);
    if (const Status status = streams_.Add(conn, stream, StreamSet::kMaxWithAccepted);
        !status.ok()) {
      driver_.Closed(conn, status);
      return new RefusedCall(status);
    }
    // The reactor outlives this call: OnDone cannot come before it is handed to gRPC.
    stream->Start();
    return stream.get();
  }

 private:
  sync::Driver& driver_;
  StreamSet& streams_;
};

}  // namespace

void AcceptedStream::Start() {
  ReadFirst();
  Pump();
}

void AcceptedStream::Cancel() { context_->TryCancel(); }

void AcceptedStream::End() { Finish(net::ToGrpc(reason().value_or(Status()))); }

void AcceptedStream::OnDone() {
  Done(reason().value_or(Status(Code::kUnavailable, "stream ended by the peer")));
}

std::unique_ptr<grpc::Service> NewPeerService(sync::Driver& driver, StreamSet& streams) {
  return std::make_unique<PeerService>(driver, streams);
}

}  // namespace podmirror::rpc
