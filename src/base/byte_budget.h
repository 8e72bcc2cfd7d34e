// ByteBudget limits the bytes that many users hold together, e.g. the buffers of all connections.
// Thread safety: all calls from any thread.
#pragma once

#include <atomic>
#include <cstddef>

namespace podmirror {

class ByteBudget {
 public:
  explicit ByteBudget(std::size_t limit) : limit_(limit) {}
  // Takes `bytes`. Returns false and takes nothing when they do not fit. While nothing else is
  // taken, any number fits, so that a request within its own limit is never impossible.
  bool Take(std::size_t bytes) {
    const std::size_t before = used_.fetch_add(bytes, std::memory_order_relaxed);
    if (before == 0 || before + bytes <= limit_) return true;
    Give(bytes);
    return false;
  }
  void Give(std::size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> used_{0};
};

}  // namespace podmirror
