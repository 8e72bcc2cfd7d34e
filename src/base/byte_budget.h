// A limit on the bytes that many hold together. Thread safety: all calls from any thread.
#pragma once

#include <atomic>
#include <cstddef>

namespace podmirror {

class ByteBudget {
 public:
  explicit ByteBudget(std::size_t limit) : limit_(limit) {}
  // False, and nothing taken, when it does not fit. What is alone always fits, so that no request
  // within its own limit is impossible.
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
