// PeerTransport carries the messages of the sync core between daemons: sync::Transport over gRPC.
// It dials podmirror.v1.Peer, or hellorpc.Sync for a peer that speaks only that, and it is the
// service that accepts the streams of others. What the queue tells calls the driver directly, and
// the driver's wakes start writes directly: only what takes long goes to another thread.
// Thread safety: all calls from any thread; Bind before all others.
//
// Who may be a peer: a daemon whose certificate says so, on both sides; without TLS anybody, unless
// TLS is required.
//
// Stop order: Stop, then that of the server that has its methods, then the driver, then this.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "net/bulk_thread.h"
#include "net/grpc_queue.h"
#include "rpc/callers.h"
#include "rpc/channel.h"
#include "rpc/server_call.h"
#include "rpc/stream_set.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

// How peers are reached, and taken.
struct PeerTls {
  enum class Mode : std::uint8_t {
    kOff,      // dialled without TLS
    kPrefer,   // dialled with TLS; where nobody speaks it, without
    kRequire,  // dialled and taken only with TLS
  };
  Mode mode = Mode::kOff;
  const trust::Keyring* keyring = nullptr;  // null without TLS
  // A peer whose record names the plain port is dialled at the other one for TLS. Any other port in
  // a record, as in a static list, is dialled as it is.
  std::uint16_t plain_port = 0;
  std::uint16_t tls_port = 0;
};

class PeerTransport final : public sync::Transport, public Service {
 public:
  // Called when a daemon that would be a peer was turned away: its address, and the reason.
  using OnRefused = std::function<void(const std::string& ip, const std::string& reason)>;

  // All that is passed must outlive the transport.
  PeerTransport(net::GrpcQueue& queue, net::BulkThread& bulk, telemetry::Metrics& metrics,
                const Env& env, Callers& callers, const PeerTls& tls, OnRefused on_refused);
  // Requires: Stop has returned true, or there never was a stream.
  ~PeerTransport() override;

  // The driver that all streams talk to: the two need each other. Once, before anything else.
  void Bind(sync::Driver& driver);

  // Those of podmirror.v1.Peer. After Bind.
  void AddTo(Methods& methods) override;

  void Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) override;
  void Wake(sync::ConnId conn) override;
  void Close(sync::ConnId conn) override;

  // Our credentials have changed: closes the streams of those who are no peers any more.
  void CheckPeers();

  // Ends all streams, takes no more, and waits until the driver has heard of the end of each; false
  // when some are left after `timeout`. Not from a reaction.
  bool Stop(absl::Duration timeout);

 private:
  // The last attempt to reach a peer.
  struct Try {
    bool tls = false;
    std::shared_ptr<DialledPeer> led_to;
  };

  void Accept(const std::shared_ptr<ServerCall>& call);
  Result<Way> WayTo(const PodRecord& peer, bool legacy);
  bool UseTls(const PodRecord& peer, bool legacy, const std::shared_ptr<DialledPeer>& leads_to);

  net::GrpcQueue& queue_;
  net::BulkThread& bulk_;
  telemetry::Metrics& metrics_;
  const Env& env_;
  Callers& callers_;
  const PeerTls tls_;
  const OnRefused on_refused_;
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, Try> tries_ ABSL_GUARDED_BY(mu_);  // by PodRecord::id
  StreamSet streams_;
  std::optional<StreamContext> context_;  // since Bind
};

}  // namespace podmirror::rpc
