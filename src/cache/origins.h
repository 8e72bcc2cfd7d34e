// Origins gives numbers to the origins of versions: all entries of a daemon have a few origins
// between them, so that a number of two bytes in each entry does for the eight of its origin.
// A number is for ever, since to count who uses it would cost each entry more than all else here.
// So a daemon that has seen tens of thousands of others, each after the other, has no number left
// for the next; entries of that one keep their origin themselves, and cost these bytes more.
// Thread safety: all calls from any thread, without locks.
// Invariants: (1) an origin has at most one number, and always the same.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace podmirror {

class Origins {
 public:
  using Number = std::uint16_t;
  static constexpr Number kNone = UINT16_MAX;
  // That many origins are 256 KiB; without them these pages are not touched.
  static constexpr std::size_t kPlaces = 32768;
  // An origin is at one of so many places in a row.
  static constexpr std::size_t kReach = 8;

  // The number of `origin`, which gets one if there is none yet; kNone when there is no place.
  Number NumberOf(std::uint64_t origin) {
    if (origin == kFree) return kNone;
    // The lowest bit of an incarnation is always set.
    const std::uint64_t home = origin >> 1;
    for (std::uint64_t i = home; i < home + kReach; ++i) {
      std::atomic<std::uint64_t>& place = places_[i % kPlaces];
      std::uint64_t there = place.load(std::memory_order_relaxed);
      // Another thread may be first: `there` is then what it has put here.
      if (there == kFree &&
          place.compare_exchange_strong(there, origin, std::memory_order_relaxed)) {
        there = origin;
      }
      if (there == origin) return static_cast<Number>(i % kPlaces);
    }
    return kNone;
  }

  // Requires: NumberOf returned this number.
  std::uint64_t at(Number number) const { return places_[number].load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t kFree = 0;
  static_assert(kPlaces <= kNone);

  std::array<std::atomic<std::uint64_t>, kPlaces> places_{};
};

}  // namespace podmirror
