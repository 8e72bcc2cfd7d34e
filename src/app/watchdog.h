// Watchdog tells when a thread that goes round and round stands still. It counts rounds of its own
// instead of reading a clock: in a process that was stopped as a whole (SIGSTOP, a frozen cgroup, a
// sleeping machine) time has passed too, but no round of either thread.
// Thread safety: Beat and stalled from any thread; Start and Stop from the thread that owns it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace podmirror::app {

class Watchdog {
 public:
  // Five rounds without a beat are a stall: `on_stall` is called then, from the watchdog's thread.
  static constexpr int kRounds = 5;
  explicit Watchdog(std::function<void()> on_stall, absl::Duration round = absl::Seconds(1));
  ~Watchdog();

  // Once each; until Start and after Stop nothing is counted.
  void Start();
  void Stop();

  // The thread that is watched has gone round once more.
  void Beat() { beats_.fetch_add(1, std::memory_order_relaxed); }
  // It has not for kRounds, until it does.
  bool stalled() const { return missed_.load(std::memory_order_relaxed) >= kRounds; }

 private:
  void Run();

  const std::function<void()> on_stall_;
  const absl::Duration round_;
  std::atomic<std::uint64_t> beats_{0};
  std::atomic<int> missed_{0};  // rounds since the last beat
  absl::Notification stop_;
  std::thread thread_;
};

}  // namespace podmirror::app
