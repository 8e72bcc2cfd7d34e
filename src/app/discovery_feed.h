// DiscoveryFeed joins a peer source with the sync core: it hands each good answer of the source to
// the core, logs what goes wrong, and remembers the state of the source for /v1/status and metrics.
// Thread safety: Start and Stop once; all others from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "app/log.h"
#include "base/env.h"
#include "discovery/peer_source.h"
#include "net/grpc_queue.h"
#include "settings/settings.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::app {

// The source that the settings ask for, not started. kInvalid names the setting that is wrong.
// All else must outlive it.
Result<std::unique_ptr<discovery::PeerSource>> NewSource(const settings::Settings& settings,
                                                         net::GrpcQueue& queue,
                                                         telemetry::Metrics& metrics, Env& env);

class DiscoveryFeed {
 public:
  struct State {
    bool healthy = false;      // the last question got a good answer that lists this pod
    bool self_listed = false;  // the last answer listed this pod
    std::uint64_t peers = 0;
    std::int64_t revision = 0;
    std::int64_t age_ms = 0;  // since the last answer that listed this pod, or since construction
    std::string error;        // empty when healthy
  };

  // `driver`, `log` and `env` must outlive the feed.
  DiscoveryFeed(std::unique_ptr<discovery::PeerSource> source, sync::Driver& driver, Log& log,
                Env& env);

  void Start();
  void Stop();                // once it has returned, the driver is told nothing more
  void Refresh();             // asks the source to read everything again soon
  void SetReady(bool ready);  // tells the other pods, if the source can (registry)
  State state() const;

 private:
  void OnPeers(const PeerSet& set, std::int64_t revision);
  void Listed(const PeerSet& set, std::int64_t revision);
  void Unlisted(const PeerSet& set);
  void OnFailed(const std::string& error);
  void OnUnreadable(const std::string& where, const std::string& reason);

  sync::Driver& driver_;
  Log& log_;
  Env& env_;
  const std::unique_ptr<discovery::PeerSource> source_;
  mutable absl::Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_);           // without age_ms
  SteadyMs answered_at_ ABSL_GUARDED_BY(mu_);  // when age_ms was 0
};

}  // namespace podmirror::app
