#include "rpc/peer_transport.h"

#include <utility>

#include "net/grpc_channel.h"
#include "rpc/accepted_stream.h"
#include "rpc/dialled_stream.h"
#include "rpc/legacy_stream.h"

namespace podmirror::rpc {

PeerTransport::PeerTransport(net::GrpcQueue& queue, BulkThread& bulk, telemetry::Metrics& metrics)
    : queue_(queue), bulk_(bulk), metrics_(metrics) {}

PeerTransport::~PeerTransport() = default;

void PeerTransport::Bind(sync::Driver& driver) {
  context_.emplace(StreamContext{driver, streams_, queue_, bulk_});
}

void PeerTransport::AddTo(Methods& methods) {
  methods.emplace("/podmirror.v1.Peer/Exchange", [this](const std::shared_ptr<ServerCall>& call) {
    AcceptedStream::Accept(call, *context_);
  });
}

void PeerTransport::Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) {
  Result<std::string> target = net::GrpcTargetOf(peer);
  if (!target.ok()) {
    context_->driver.Closed(conn, target.status());
    return;
  }
  const Status status = legacy ? LegacyStream::Dial(conn, *target, peer, *context_, metrics_)
                               : DialledStream::Dial(conn, *target, *context_);
  if (!status.ok()) context_->driver.Closed(conn, status);
}

void PeerTransport::Wake(sync::ConnId conn) {
  if (const auto stream = streams_.Find(conn)) stream->Wake();
}

void PeerTransport::Close(sync::ConnId conn) {
  if (const auto stream = streams_.Find(conn)) {
    stream->Close({Code::kUnavailable, "closed by the peer"});
  }
}

bool PeerTransport::Stop(absl::Duration timeout) { return streams_.Stop(timeout); }

}  // namespace podmirror::rpc
