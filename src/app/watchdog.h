// Watchdog tells when a thread that runs in a loop stands still. It counts the rounds of a loop of
// its own instead of reading a clock: while the whole process is stopped (SIGSTOP, a frozen cgroup,
// a sleeping machine) time passes, but neither loop makes a round, so that no stall is reported.
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

  // Call each once. Rounds are counted from Start to Stop only.
  void Start();
  void Stop();

  // The watched thread calls this in each round of its loop.
  void Beat() { beats_.fetch_add(1, std::memory_order_relaxed); }
  // True when Beat was not called for kRounds rounds, until it is called again.
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
