#include "rpc/peer_transport.h"

#include <utility>

#include "net/grpc_channel.h"
#include "rpc/accepted_stream.h"
#include "rpc/dialled_stream.h"
#include "rpc/legacy_stream.h"

namespace podmirror::rpc {

PeerTransport::PeerTransport(telemetry::Metrics& metrics) : metrics_(metrics) {}

PeerTransport::~PeerTransport() = default;

void PeerTransport::Bind(sync::Driver& driver) {
  driver_ = &driver;
  service_ = NewPeerService(driver, streams_);
}

grpc::Service& PeerTransport::service() { return *service_; }

void PeerTransport::Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) {
  Result<std::string> target = net::GrpcTargetOf(peer);
  if (!target.ok()) {
    driver_->Closed(conn, target.status());
    return;
  }
  const Status status = legacy
                            ? LegacyStream::Dial(conn, *target, peer, *driver_, streams_, metrics_)
                            : DialledStream::Dial(conn, *target, *driver_, streams_);
  if (!status.ok()) driver_->Closed(conn, status);
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
