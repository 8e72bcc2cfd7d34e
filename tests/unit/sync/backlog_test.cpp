#include "sync/backlog.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

namespace podmirror::sync {
namespace {

// With what fell out of it.
struct Kept : Backlog {
  using Backlog::Backlog;
  std::uint64_t Append(EntryRef entry) { return Backlog::Append(std::move(entry), fallen); }

  std::vector<EntryRef> fallen;
};

EntryRef Write(std::uint64_t hlc, std::size_t value_bytes) {
  return Entry::Make(1, "key", std::string(value_bytes, 'v'), {hlc, 7});
}

TEST_CASE("an empty backlog holds nothing before its first number") {
  const Backlog backlog(1000);
  CHECK(backlog.first() == 1);
  CHECK(backlog.last() == 0);
  CHECK(backlog.bytes() == 0);
  CHECK(backlog.BytesAfter(0) == 0);
}

TEST_CASE("writes are numbered from 1 without gaps and kept in order") {
  Kept backlog(1'000'000);
  for (std::uint64_t hlc = 1; hlc <= 5; ++hlc) CHECK(backlog.Append(Write(hlc, 10)) == hlc);
  CHECK(backlog.first() == 1);
  CHECK(backlog.last() == 5);
  for (std::uint64_t seq = 1; seq <= 5; ++seq) CHECK(backlog.at(seq)->version().hlc == seq);
}

TEST_CASE("the oldest writes fall out over the limit, and only they") {
  const std::size_t one = Write(1, 100)->memory_bytes();
  Kept backlog(3 * one);
  for (std::uint64_t hlc = 1; hlc <= 10; ++hlc) {
    backlog.Append(Write(hlc, 100));
    CHECK(backlog.bytes() <= 3 * one);
  }
  CHECK(backlog.first() == 8);
  CHECK(backlog.last() == 10);
  CHECK(backlog.bytes() == 3 * one);
  CHECK(backlog.at(8)->version().hlc == 8);
  REQUIRE(backlog.fallen.size() == 7);
  for (std::uint64_t hlc = 1; hlc <= 7; ++hlc) {
    CHECK(backlog.fallen[hlc - 1]->version().hlc == hlc);
  }
}

TEST_CASE("a write larger than the limit is kept alone, until the next") {
  Kept backlog(1000);
  backlog.Append(Write(1, 10));
  CHECK(backlog.Append(Write(2, 1'000'000)) == 2);
  CHECK(backlog.first() == 2);
  CHECK(backlog.bytes() > 1'000'000);
  CHECK(backlog.Append(Write(3, 10)) == 3);
  CHECK(backlog.first() == 3);
  CHECK(backlog.bytes() == Write(3, 10)->memory_bytes());
}

TEST_CASE("BytesAfter is the memory of the kept writes above a number") {
  Kept backlog(1'000'000);
  const std::size_t small = Write(1, 10)->memory_bytes();
  const std::size_t large = Write(1, 5000)->memory_bytes();
  backlog.Append(Write(1, 10));
  backlog.Append(Write(2, 5000));
  backlog.Append(Write(3, 10));
  CHECK(backlog.BytesAfter(0) == 2 * small + large);
  CHECK(backlog.BytesAfter(1) == small + large);
  CHECK(backlog.BytesAfter(2) == small);
  CHECK(backlog.BytesAfter(3) == 0);
  CHECK(backlog.BytesAfter(99) == 0);
}

TEST_CASE("BytesAfter a number that has fallen out is all that is left") {
  const std::size_t one = Write(1, 100)->memory_bytes();
  Kept backlog(2 * one);
  for (std::uint64_t hlc = 1; hlc <= 6; ++hlc) backlog.Append(Write(hlc, 100));
  CHECK(backlog.first() == 5);
  CHECK(backlog.BytesAfter(2) == 2 * one);
  CHECK(backlog.BytesAfter(4) == 2 * one);
  CHECK(backlog.BytesAfter(5) == one);
}

TEST_CASE("BytesAfter is right for every number of a long backlog that has lost its front") {
  const auto size_of = [](std::uint64_t hlc) { return std::size_t{10 + hlc % 37 * 20}; };
  Kept backlog(200'000);
  for (std::uint64_t hlc = 1; hlc <= 1500; ++hlc) backlog.Append(Write(hlc, size_of(hlc)));
  REQUIRE(backlog.first() > 500);
  REQUIRE(backlog.first() < 1200);
  std::uint64_t after = 0;
  for (std::uint64_t seq = backlog.last(); seq >= backlog.first(); --seq) {
    CHECK(backlog.BytesAfter(seq) == after);
    after += backlog.at(seq)->memory_bytes();
  }
  CHECK(after == backlog.bytes());
  CHECK(backlog.BytesAfter(backlog.first() - 1) == after);
}

}  // namespace
}  // namespace podmirror::sync
