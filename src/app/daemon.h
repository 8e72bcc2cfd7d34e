// Daemon is the composition root: the only place that knows all concrete types.
//
// Start order: the reloader of files; gRPC, so that the writes of other pods reach us while we
// copy; REST, so that /healthz answers; the ticker; discovery, whose first peers set everything in
// motion. Stop order: discovery, so that a source that can tell the other pods makes them drop us
// before our ports close; REST; the peers' streams; gRPC, the bulk threads, the queue; the ticker.
// After Stop no member calls another one. Members are destroyed in reverse order of declaration: a
// member that another one takes in its constructor is declared before that one.
//
// Thread safety: all calls from one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "app/discovery_feed.h"
#include "app/log.h"
#include "app/refusal_log.h"
#include "app/reloader.h"
#include "app/trust_parts.h"
#include "app/watchdog.h"
#include "base/env.h"
#include "base/status.h"
#include "cache/cache.h"
#include "net/bulk_thread.h"
#include "net/grpc_queue.h"
#include "rest/rest_server.h"
#include "rpc/callers.h"
#include "rpc/follow_service.h"
#include "rpc/peer_transport.h"
#include "rpc/rpc_server.h"
#include "rpc/server_call.h"
#include "rpc/watch_service.h"
#include "settings/settings.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"
#include "trust/access.h"

namespace podmirror::app {

class Daemon {
 public:
  // Builds everything, opens nothing. kInvalid names the setting that is wrong. `log` and `env`
  // must outlive the daemon.
  static Result<std::unique_ptr<Daemon>> New(const settings::Settings& settings, Log& log,
                                             Env& env);
  // Requires: Stop has returned true, or Start was never called.
  ~Daemon();

  // Opens the ports and begins to look for peers. Fails with the reason when a port cannot be
  // opened; the caller must then call Stop, too.
  Status Start();

  // Looks at certificates and the like now, in case that their files have changed.
  void Reload();

  // From now on the daemon says that it is not ready, for Kubernetes' Services to see, but it
  // serves requests as before.
  void Leave();
  // From now on the daemon refuses writes, and hands over to the peers the writes that they lack.
  void BeginDrain();
  bool drained() const;

  // Closes the ports and ends all that runs, within about `limit_ms`, sooner when nothing is in
  // flight. False when a stream or a call did not end: then the process must exit without
  // destroying the daemon.
  bool Stop(std::int64_t limit_ms);

 private:
  // What can fail when it is made.
  struct Parts {
    std::unique_ptr<telemetry::Metrics> metrics;
    std::unique_ptr<net::GrpcQueue> queue;
    std::unique_ptr<discovery::PeerSource> source;
    std::unique_ptr<Reloader> reloader;
    std::unique_ptr<TrustParts> trust;
  };
  Daemon(const settings::Settings& settings, Parts parts, Log& log, Env& env);

  Status StartRpc();

  void RunTicker();
  telemetry::Snapshot TakeSnapshot() const;
  rest::DiscoveryView ViewDiscovery() const;

  const settings::Settings settings_;
  Log& log_;

  const std::unique_ptr<telemetry::Metrics> metrics_;
  const std::unique_ptr<Reloader> reloader_;
  const std::unique_ptr<TrustParts> trust_;
  RefusalLog refusals_;
  ChangeLog changes_;
  Cache cache_;
  const std::unique_ptr<net::GrpcQueue> queue_;
  net::BulkThread bulk_{"bulk"};
  net::BulkThread scan_{"scan"};
  const trust::Access access_;
  rpc::Callers callers_;
  rpc::PeerTransport transport_;
  sync::Driver driver_;
  watch::Feeds feeds_;
  DiscoveryFeed feed_;
  const std::unique_ptr<rpc::Service> cache_service_;
  const std::unique_ptr<rpc::Service> sync_service_;
  rpc::WatchService watch_service_;
  rpc::FollowService follow_service_;
  rest::RestServer rest_;
  std::unique_ptr<rpc::RpcServer> rpc_;  // null before Start
  Watchdog watchdog_;                    // of the ticker
  absl::Notification stop_ticker_;
  std::thread ticker_;
};

}  // namespace podmirror::app
