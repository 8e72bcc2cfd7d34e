#include "cache/origins.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace podmirror {
namespace {

// Too large for the stack of a test.
std::unique_ptr<Origins> Make() { return std::make_unique<Origins>(); }

TEST_CASE("an origin has one number, and always the same") {
  const auto origins = Make();
  const Origins::Number number = origins->NumberOf(7);
  const Origins::Number other = origins->NumberOf(UINT64_MAX);
  CHECK(number != Origins::kNone);
  CHECK(number != other);
  CHECK(origins->NumberOf(7) == number);
  CHECK(origins->at(number) == 7);
  CHECK(origins->at(other) == UINT64_MAX);
  CHECK(origins->NumberOf(0) == Origins::kNone);
}

TEST_CASE("a thousand origins all have a number of their own") {
  const auto origins = Make();
  std::mt19937_64 random(1);
  std::map<Origins::Number, std::uint64_t> taken;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t origin = random() | 1;
    const Origins::Number number = origins->NumberOf(origin);
    REQUIRE(number != Origins::kNone);
    CHECK(taken.emplace(number, origin).second);
  }
  for (const auto& [number, origin] : taken) CHECK(origins->at(number) == origin);
}

TEST_CASE("once all numbers are taken there is none for others, and these stay what they are") {
  const auto origins = Make();
  std::mt19937_64 random(1);
  std::map<Origins::Number, std::uint64_t> taken;
  std::uint64_t refused = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const std::uint64_t origin = random();
    const Origins::Number number = origins->NumberOf(origin);
    if (number != Origins::kNone) {
      REQUIRE(taken.emplace(number, origin).second);
    } else {
      refused = origin;
    }
  }
  CHECK(taken.size() == Origins::kPlaces);
  CHECK(origins->NumberOf(refused) == Origins::kNone);
  int wrong = 0;
  for (const auto& [number, origin] : taken) {
    wrong += origins->at(number) != origin || origins->NumberOf(origin) != number;
  }
  CHECK(wrong == 0);
}

// Meant for a run under ThreadSanitizer; without one it still checks what the numbers say.
TEST_CASE("threads that meet an origin at the same time get the same number") {
  constexpr std::uint64_t kOrigins = 2000;
  constexpr int kThreads = 4;
  // Four at a time want the same place.
  const auto origin = [](std::uint64_t i) {
    return 8 * (i / 4) + 1 + i % 4 * 2 * Origins::kPlaces;
  };
  const auto origins = Make();
  std::vector<std::vector<Origins::Number>> numbers(kThreads);
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (auto& mine : numbers) {
    threads.emplace_back([&] {
      ++ready;
      while (ready < kThreads) {
      }
      for (std::uint64_t i = 0; i < kOrigins; ++i) mine.push_back(origins->NumberOf(origin(i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  int wrong = 0;
  for (std::uint64_t i = 0; i < kOrigins; ++i) {
    const Origins::Number number = numbers[0][i];
    wrong += number == Origins::kNone || origins->at(number) != origin(i);
    for (const auto& others : numbers) wrong += others[i] != number;
  }
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace podmirror
