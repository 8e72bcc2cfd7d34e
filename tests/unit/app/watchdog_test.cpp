#include "app/watchdog.h"

#include <atomic>
#include <catch2/catch.hpp>

#include "integration/eventually.h"

namespace podmirror::app {
namespace {

TEST_CASE("watchdog: who stands still is told once, until it goes on") {
  std::atomic<int> stalls{0};
  Watchdog watchdog([&] { ++stalls; }, absl::Milliseconds(1));
  CHECK_FALSE(watchdog.stalled());
  watchdog.Start();
  REQUIRE(Eventually([&] { return watchdog.stalled(); }));
  REQUIRE(Eventually([&] { return stalls == 1; }));
  REQUIRE(Eventually([&] {
    watchdog.Beat();
    return !watchdog.stalled();
  }));
  REQUIRE(Eventually([&] { return stalls == 2; }));
}

}  // namespace
}  // namespace podmirror::app
