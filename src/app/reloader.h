// Reloader looks again and again at the files that may change while the daemon runs: certificates,
// roles, keys of tokens.
// Thread safety: Poke from any thread; Start and Stop from the thread that owns it.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace podmirror::app {

class Reloader {
 public:
  explicit Reloader(absl::Duration interval) : interval_(interval) {}
  ~Reloader();

  // Calls `look` each interval and after each Poke, from one thread of its own. Once, as Stop.
  void Start(std::function<void()> look);
  void Stop();

  // Look now; before Start: as soon as it comes.
  void Poke();

 private:
  void Run(const std::function<void()>& look);

  const absl::Duration interval_;
  absl::Mutex mu_;
  bool poked_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace podmirror::app
