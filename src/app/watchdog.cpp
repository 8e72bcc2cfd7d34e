#include "app/watchdog.h"

#include <utility>

namespace podmirror::app {

Watchdog::Watchdog(std::function<void()> on_stall, absl::Duration round)
    : on_stall_(std::move(on_stall)), round_(round) {}

Watchdog::~Watchdog() { Stop(); }

void Watchdog::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Watchdog::Stop() {
  if (!thread_.joinable()) return;
  stop_.Notify();
  thread_.join();
}

void Watchdog::Run() {
  std::uint64_t seen = 0;
  while (!stop_.WaitForNotificationWithTimeout(round_)) {
    const std::uint64_t beats = beats_.load(std::memory_order_relaxed);
    if (beats != seen) {
      seen = beats;
      missed_.store(0, std::memory_order_relaxed);
    } else if (missed_.fetch_add(1, std::memory_order_relaxed) + 1 == kRounds) {
      on_stall_();
    }
  }
}

}  // namespace podmirror::app
