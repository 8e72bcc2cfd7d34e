#include "base/env.h"

#include <catch2/catch.hpp>
#include <set>

namespace podmirror {
namespace {

TEST_CASE("the real clocks run") {
  const Now first = Env::Real().now();
  CHECK(first.wall > 1'600'000'000'000);  // milliseconds, not seconds: after September 2020
  CHECK(first.wall < 16'000'000'000'000);
  SteadyMs last = first.steady;
  // The millisecond changes within a bounded number of reads, and never goes back.
  for (int i = 0; i < 100'000'000 && last == first.steady; ++i) {
    const SteadyMs next = Env::Real().now().steady;
    if (next < last) FAIL("went back by " << last - next << " ms");
    last = next;
  }
  CHECK(last > first.steady);
}

TEST_CASE("random numbers differ") {
  std::set<std::uint64_t> numbers;
  for (int i = 0; i < 1000; ++i) numbers.insert(Env::Real().Random());
  CHECK(numbers.size() == 1000);
}

}  // namespace
}  // namespace podmirror
