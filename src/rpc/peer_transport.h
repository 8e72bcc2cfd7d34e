// PeerTransport carries the messages of the sync core between daemons: sync::Transport over gRPC.
// It dials podmirror.v1.Peer, or hellorpc.Sync for a peer that speaks only that, and it is the
// service that accepts the streams of others. Reactions of gRPC call the driver directly, and the
// driver's wakes start writes directly: no thread and no queue is in between.
// Thread safety: all calls from any thread; Bind before all others.
//
// Stop order: Stop, then grpc::Server::Shutdown of the server that holds service(), then the
// driver, then this.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "absl/time/time.h"
#include "rpc/stream_set.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

class PeerTransport final : public sync::Transport {
 public:
  // `metrics` must outlive the transport.
  explicit PeerTransport(telemetry::Metrics& metrics);
  // Requires: Stop has returned true, or there never was a stream.
  ~PeerTransport() override;

  // The driver that all streams talk to: the two need each other. Once, before anything else.
  void Bind(sync::Driver& driver);

  // podmirror.v1.Peer, to be registered with a server. Valid after Bind, as long as this.
  grpc::Service& service();

  void Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) override;
  void Wake(sync::ConnId conn) override;
  void Close(sync::ConnId conn) override;

  // Ends all streams, takes no more, and waits until the driver has heard of the end of each; false
  // when some are left after `timeout`. Not from a gRPC callback.
  bool Stop(absl::Duration timeout);

 private:
  telemetry::Metrics& metrics_;
  StreamSet streams_;
  sync::Driver* driver_ = nullptr;
  std::unique_ptr<grpc::Service> service_;
};

}  // namespace podmirror::rpc
