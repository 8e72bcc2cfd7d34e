// SimTime is virtual time: everything that happens is one event in one queue, run in the order of
// time and, within one instant, of scheduling. Chance comes from one seed. Hence the same seed
// gives the same run.
// Thread safety: none; one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "base/env.h"

namespace podmirror::sim {

class SimTime {
 public:
  // plain: no chance, every draw is the middle of its range.
  SimTime(std::uint64_t seed, bool plain) : random_(seed), plain_(plain) {}

  SteadyMs now() const { return now_; }
  void At(SteadyMs when, std::function<void()> what) {
    queue_.push_back({std::max(when, now_), order_++, std::move(what)});
    std::push_heap(queue_.begin(), queue_.end(), Later);
  }
  void In(SteadyMs delay, std::function<void()> what) { At(now_ + delay, std::move(what)); }
  // Runs everything due until then.
  void RunUntil(SteadyMs until) {
    while (!queue_.empty() && queue_.front().when <= until) {
      std::pop_heap(queue_.begin(), queue_.end(), Later);
      Event event = std::move(queue_.back());
      queue_.pop_back();
      now_ = event.when;
      event.what();
    }
    now_ = until;
  }

  std::uint64_t Random() { return random_(); }
  // Uniform over 0 .. n-1.
  std::uint64_t Below(std::uint64_t n) { return plain_ ? n / 2 : random_() % n; }
  // Uniform over low .. high.
  SteadyMs Between(SteadyMs low, SteadyMs high) {
    return low + static_cast<SteadyMs>(Below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool OneIn(std::uint64_t n) { return Below(n) == 0; }

 private:
  struct Event {
    SteadyMs when;
    std::uint64_t order;
    std::function<void()> what;
  };
  static bool Later(const Event& a, const Event& b) {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }

  std::mt19937_64 random_;
  const bool plain_;
  SteadyMs now_ = 0;
  std::uint64_t order_ = 0;
  std::vector<Event> queue_;  // a heap, the earliest in front
};

}  // namespace podmirror::sim
