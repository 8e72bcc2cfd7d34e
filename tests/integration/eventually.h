// Waiting for what other threads bring about. Thread safety: all calls from any thread.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace podmirror {

// Looks again until it is true; false after 15 s.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace podmirror
