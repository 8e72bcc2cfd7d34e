// Env is the seam to time and chance: the only place where a clock or a random device is read.
// Thread safety: all calls from any thread.
#pragma once

#include <cstdint>

namespace podmirror {

// Milliseconds of a clock that never goes back; comparable within one process only.
using SteadyMs = std::int64_t;
// Milliseconds since 1970-01-01T00:00:00Z, as the machine believes; may jump.
using WallMs = std::int64_t;

// One instant on both clocks. The core, which does no I/O, is given a Now and reads no clock.
struct Now {
  SteadyMs steady = 0;
  WallMs wall = 0;
};

class Env {
 public:
  virtual ~Env() = default;
  virtual Now now() const = 0;
  // Nanoseconds of the steady clock, to measure times shorter than a millisecond.
  virtual std::int64_t steady_ns() const { return now().steady * 1'000'000; }
  // Uniform over all 64-bit numbers; not for secrets.
  virtual std::uint64_t Random() = 0;

  // The machine's own clocks and randomness; lives as long as the process. The top of a program
  // names it and hands it down; the code below uses the Env that it is given.
  static Env& Real();
};

}  // namespace podmirror
