// Hlc is the hybrid logical clock of one node: wall milliseconds and a counter, never going back.
// Thread safety: none; belongs to the Node.
// Invariant: Next() is greater than every value ever returned by Next() or given to Observe().
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/env.h"
#include "cache/entry.h"

namespace podmirror::sync {

// A version further ahead of our wall clock than this is refused: one broken clock must not push
// everybody's versions into the future for ever.
inline constexpr std::int64_t kMaxSkewMs = 24 * 3'600'000;

class Hlc {
 public:
  // A new value for a write of ours.
  std::uint64_t Next(WallMs wall) { return last_ = std::max(last_ + 1, HlcOf(wall)); }

  // Takes note of a value seen elsewhere. Requires: Acceptable(value, wall).
  void Observe(std::uint64_t value) { last_ = std::max(last_, value); }

  // The present moment, without using up a value.
  std::uint64_t Current(WallMs wall) const { return std::max(last_, HlcOf(wall)); }

  // Whether a peer may tell this hlc and this purge floor: a floor is older than the clock.
  static bool Plausible(std::uint64_t value, std::uint64_t floor, WallMs wall) {
    return Acceptable(value, wall) && floor <= value;
  }

  static bool Acceptable(std::uint64_t value, WallMs wall) {
    return WallOf(value) <= wall + kMaxSkewMs;
  }

 private:
  std::uint64_t last_ = 0;
};

}  // namespace podmirror::sync
