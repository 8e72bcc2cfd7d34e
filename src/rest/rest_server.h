// RestServer is the REST front end: routes over the cache and the sync core, served by HttpServer.
// Thread safety: Start and Stop from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "cache/cache.h"
#include "cache/change_log.h"
#include "net/bulk_thread.h"
#include "rest/http_server.h"
#include "sync/driver.h"
#include "sync/limits.h"
#include "telemetry/metrics.h"
#include "trust/access.h"
#include "trust/keyring.h"
#include "watch/feed.h"

namespace podmirror::rest {

struct RestOptions {
  std::vector<HttpPort> ports = {{.listen = "[::]:8080"}};
  sync::ItemLimits items;
  std::size_t max_batch_bytes = 16 * 1024 * 1024;
  int max_connections = 1024;
  std::int64_t request_timeout_ms = 10'000;  // from the first byte of a request to its last
  int workers = 2;
  // For a write that does not say which acknowledgements it waits for, or how long.
  sync::AckLevel ack = sync::AckLevel::kAll;
  std::int64_t ack_timeout_ms = 1000;
  // What /v1/status says of this daemon.
  std::string name;
  std::string ns;
  std::string uid;
  std::string cluster;
  std::string version;
};

// How discovery stands, for /v1/status and /readyz.
struct DiscoveryView {
  std::string source;  // "etcd", "static", ...
  bool healthy = false;
  std::uint64_t peers = 0;
  std::int64_t revision = 0;
  std::int64_t age_ms = 0;  // since the last good answer
  std::string error;        // empty when healthy
};

// What the routes work on. All of it must outlive the driver's last callback: a write's answer may
// come after the server has stopped.
struct RestContext {
  Cache& cache;
  ChangeLog& changes;  // the cache's
  watch::Feeds& feeds;
  sync::Driver& driver;
  telemetry::Metrics& metrics;
  Env& env;
  std::function<DiscoveryView()> discovery;  // called from any thread
  // Returns why /healthz must fail, or an empty text when it must not. Called from any thread.
  std::function<std::string()> illness = [] { return std::string(); };
  // What the daemon proves itself with; null without TLS.
  const trust::Keyring* keyring = nullptr;
  const trust::Access& access;
  // Looks at the whole cache for deletes by prefix. To be stopped between Stop and the end.
  net::BulkThread& scan;
};

class RestServer {
 public:
  // Listens to the change log from now on; no thread may use that yet.
  RestServer(const RestOptions& options, const RestContext& context);
  ~RestServer();

  // Listens and serves. kUnavailable with the setting and the reason when a port is taken.
  Status Start();
  // From now on each answer closes its connection, so that the client connects again (see
  // HttpServer). Everything else goes on as before. Requires: Start was ok.
  void Leave();
  // Closes the ports, gives requests in flight `grace_ms`, then cuts them. Idempotent.
  void Stop(std::int64_t grace_ms = 2'000);
  // The bound port of this kind; 0 when there is none. Requires: Start was ok.
  std::uint16_t port(PortKind kind = PortKind::kPlain) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace podmirror::rest
