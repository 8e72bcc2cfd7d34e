// PeerTransport carries the messages of the sync core between daemons: sync::Transport over gRPC.
// It dials podmirror.v1.Peer, or hellorpc.Sync for a peer that speaks only that, and it is the
// service that accepts the streams of others. What the queue tells calls the driver directly, and
// the driver's wakes start writes directly: only what takes long goes to another thread.
// Thread safety: all calls from any thread; Bind before all others.
//
// Stop order: Stop, then that of the server that has its methods, then the driver, then this.
#pragma once

#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "net/grpc_queue.h"
#include "rpc/bulk_thread.h"
#include "rpc/server_call.h"
#include "rpc/stream_set.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

class PeerTransport final : public sync::Transport, public Service {
 public:
  // All that is passed must outlive the transport.
  PeerTransport(net::GrpcQueue& queue, BulkThread& bulk, telemetry::Metrics& metrics);
  // Requires: Stop has returned true, or there never was a stream.
  ~PeerTransport() override;

  // The driver that all streams talk to: the two need each other. Once, before anything else.
  void Bind(sync::Driver& driver);

  // Those of podmirror.v1.Peer. After Bind.
  void AddTo(Methods& methods) override;

  void Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) override;
  void Wake(sync::ConnId conn) override;
  void Close(sync::ConnId conn) override;

  // Ends all streams, takes no more, and waits until the driver has heard of the end of each; false
  // when some are left after `timeout`. Not from a reaction.
  bool Stop(absl::Duration timeout);

 private:
  net::GrpcQueue& queue_;
  BulkThread& bulk_;
  telemetry::Metrics& metrics_;
  StreamSet streams_;
  std::optional<StreamContext> context_;  // since Bind
};

}  // namespace podmirror::rpc
