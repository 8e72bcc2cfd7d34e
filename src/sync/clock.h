// PeerClock is what we know of a peer's wall clock: what it told last, and how long ago that was.
// An entry is hidden by the own clock alone, which undoes itself once the clock is right. What
// cannot be undone (turning it into a tombstone, calling it dead) waits until the clocks of all
// peers have passed its end: otherwise the fastest clock would delete everybody's entries.
// A peer that is cut off goes on counting, with the clock that it had: so a clock that jumps is
// found out by who is alone, too.
// Thread safety: none; belongs to a Link or a Session.
#pragma once

#include <algorithm>
#include <optional>

#include "base/env.h"

namespace podmirror::sync {

// Clocks that are this far apart are worth a word.
inline constexpr std::int64_t kClocksApartMs = 5000;

class PeerClock {
 public:
  // wall: as the peer tells it; 0 = it does not.
  void Told(WallMs wall, SteadyMs now) {
    if (wall == 0) return;
    wall_ = wall;
    at_ = now;
  }

  // What its clock says now, but for the time that the message took; nothing when it never told, or
  // has not for a day.
  std::optional<WallMs> At(SteadyMs now) const {
    if (wall_ == 0 || now - at_ > kForgottenMs) return std::nullopt;
    return wall_ + (now - at_);
  }

 private:
  static constexpr std::int64_t kForgottenMs = 24 * 3'600'000;

  WallMs wall_ = 0;
  SteadyMs at_ = 0;
};

}  // namespace podmirror::sync
