// All metrics of the daemon: name, unit and meaning in one place; no globals.
// Thread safety: all calls from any thread.
// Invariants: the number of time series is bounded. A label value that is not fixed in the code is
//             one of a bounded set (routes, status codes, the peers in the set now).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace podmirror::telemetry {

// Values that are read at each scrape, instead of being counted all the time.
struct Snapshot {
  struct Peer {
    std::string name;
    std::string state;  // as in /v1/peers
    std::uint64_t behind_bytes = 0;
    double replication_lag_seconds = 0;  // age of the oldest write it has not acknowledged
    double clock_ahead_seconds = 0;      // the peer's wall clock minus ours
  };
  std::uint64_t entries = 0;
  std::uint64_t tombstones = 0;
  std::uint64_t bytes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t watchers = 0;
  std::uint64_t expired = 0;  // entries that expired here since the start
  bool ready = false;
  std::vector<Peer> peers;
  bool discovery_healthy = false;
  bool discovery_self_listed = false;
  double discovery_age_seconds = 0;
  double bootstrap_seconds = 0;
  std::uint64_t log_dropped = 0;
  // When our certificate expires, in seconds since 1970; 0 without TLS.
  double tls_expiry_seconds = 0;
  std::uint64_t unauthorized = 0;  // requests of nobody who is known
  std::uint64_t forbidden = 0;     // requests that are not allowed
};

class Metrics {
 public:
  Metrics();
  ~Metrics();

  // `source` is called at each scrape. Call this before the first Render.
  void SetSnapshotSource(std::function<Snapshot()> source);

  // route: the route's name, never the raw target ("cache_entry", "healthz", ...).
  void RestRequest(std::string_view method, std::string_view route, int code, double seconds);
  void RestConnections(int change);            // so many more are open; negative: fewer
  void DiscoveryEvent(std::string_view type);  // list, watch_event, relist, error, unreadable, ...
  void Repair(std::string_view reason, std::uint64_t entries);
  // A connection was refused for its TLS or its certificate. where: "rest", "peer".
  void TlsRefused(std::string_view where);
  void TurnedAway();           // a gRPC connection, of an address refused as a peer too often
  void TlsReload(bool taken);  // the files of certificates had changed
  void PeerEvent(std::string_view type);  // connected, lost, refused
  void DeadDropped(std::uint64_t entries);
  void LegacyValueSkipped(std::uint64_t count);  // values that hellorpc cannot carry

  // Prometheus text format.
  std::string Render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace podmirror::telemetry
