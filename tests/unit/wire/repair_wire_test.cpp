// What repair costs on the wire and in CPU: whole passes with every message encoded and decoded as
// for a stream. The figures of the CPU are printed, not judged: run with [.bench].
#include <catch2/catch.hpp>
#include <cstdio>
#include <ctime>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "follow/follower.h"
#include "sync/answers.h"
#include "sync/repair_testing.h"
#include "wire/codec.h"

namespace podmirror::wire {
namespace {

using sync::kNow;
using sync::Message;

constexpr int kEntries = 1'000'000;
constexpr std::size_t kGrpcHeader = 5;  // of each message

double CpuMs() { return static_cast<double>(std::clock()) * 1000.0 / CLOCKS_PER_SEC; }

struct Cost {
  std::size_t wire = 0;
  double cpu_ms = 0;
};

Cost CostOfPass(Cache& asker, Cache& answerer) {
  Cost cost;
  sync::Weather weather;
  weather.fragments = true;
  weather.carry = [&cost](const Message& message) {
    v1::Frame frame;
    Encode(message, &frame);
    const std::string bytes = frame.SerializeAsString();
    cost.wire += bytes.size() + kGrpcHeader;
    v1::Frame arrived;
    if (!arrived.ParseFromString(bytes)) FAIL("not a frame");
    auto decoded = Decode(arrived);
    if (!decoded.ok()) FAIL(decoded.status().message());
    return std::move(**decoded);
  };
  const double before = CpuMs();
  sync::RunPass(asker, answerer, weather);
  cost.cpu_ms = CpuMs() - before;
  return cost;
}

// Keys of 18 bytes, values of 100.
std::string KeyAt(int i) {
  std::string number = std::to_string(i);
  return "podmirror-" + std::string(8 - number.size(), '0') + number;
}

EntryRef EntryAt(int i, std::uint64_t hlc) {
  return Entry::Make(1, KeyAt(i), std::string(100, static_cast<char>('a' + hlc % 26)), {hlc, 7});
}

void Fill(int count, Cache& cache) {
  for (int i = 0; i < count; ++i) cache.Merge(EntryAt(i, 5), kNow);
}

// Makes `count` keys differ, spread over all: newer here, newer there, lacking here, lacking there.
void Differ(int count, Cache& a, Cache& b) {
  for (int i = 0; i < count; ++i) {
    const int at = static_cast<int>(static_cast<std::int64_t>(i) * kEntries / count);
    switch (i % 4) {
      case 0:
        a.Merge(EntryAt(at, 6), kNow);
        break;
      case 1:
        b.Merge(EntryAt(at, 6), kNow);
        break;
      case 2:
        a.Merge(EntryAt(kEntries + i, 6), kNow);
        break;
      case 3:
        b.Merge(EntryAt(kEntries + i, 6), kNow);
        break;
    }
  }
}

TEST_CASE("1,000 differing entries of 1,000,000 cost at most 2 MiB, in both directions together") {
  Cache a;
  Cache b;
  Fill(kEntries, a);
  Fill(kEntries, b);
  Differ(1000, a, b);
  REQUIRE(a.digest() != b.digest());
  const std::size_t wire = CostOfPass(a, b).wire;
  CAPTURE(wire);
  CHECK(wire <= 2 * 1024 * 1024);
  CHECK(a.digest() == b.digest());
  CHECK(a.Stats().entries == b.Stats().entries);
  // And nothing differs: one question, one answer.
  CHECK(CostOfPass(a, b).wire < 2200);
}

// What a message takes on the wire of podmirror.v1.Follow, which has no frames around it.
std::size_t SizeOf(const Message& message) {
  v1::Frame frame;
  Encode(message, &frame);
  return frame.ByteSizeLong() + kGrpcHeader;
}

Message AnswerOf(const Cache& daemon, const Message& question) {
  constexpr sync::Asker kFollower{.floor = 0, .fragments = false};
  if (const auto* sums = std::get_if<sync::SumsRequest>(&question))
    return AnswerSums(daemon, *sums);
  return AnswerOffer(daemon, std::get<sync::Offer>(question), kFollower);
}

TEST_CASE("a follower of 1,000,000 entries pays at most 2 MiB where 1,000 differ") {
  Cache daemon;
  Cache copy;
  Fill(kEntries, daemon);
  Fill(kEntries, copy);
  for (int i = 0; i < 1000; ++i) {
    const int at = i * (kEntries / 1000);
    switch (i % 3) {
      case 0:
        daemon.Merge(EntryAt(at, 6), kNow);
        break;
      case 1:
        daemon.Merge(EntryAt(kEntries + i, 6), kNow);
        break;
      case 2:
        daemon.Merge(Entry::MakeTombstone(1, KeyAt(at), {6, 7}), kNow);
        break;
    }
  }
  follow::Follower follower(copy, follow::Scope::kWhole, std::uint64_t{1} << 30);
  const podmirror::Now now{.steady = 1, .wall = kNow};
  follower.Opened(now);
  follow::Changes first;
  first.state = follow::DaemonState{.incarnation = 1, .digest = daemon.digest(), .wall = kNow};
  REQUIRE(follower.OnChanges(first, now).ok());
  std::size_t wire = 0;
  while (const auto question = follower.Next(now)) {
    const Message answer = AnswerOf(daemon, *question);
    wire += SizeOf(*question) + SizeOf(answer);
    REQUIRE(follower.OnReply(answer, now).ok());
    follower.Merge();
  }
  CAPTURE(wire);
  CHECK(follower.complete());
  CHECK(copy.digest() == daemon.digest());
  CHECK(wire <= 2 * 1024 * 1024);
}

TEST_CASE("large entries cross the wire in fragments, both ways, and cost little more") {
  Cache a;
  Cache b;
  const std::string value(5'000'000, 'v');
  a.Merge(Entry::Make(1, "here", value, {5, 7}), kNow);
  b.Merge(Entry::Make(1, "there", value, {5, 7}), kNow);
  const std::size_t wire = CostOfPass(a, b).wire;
  CHECK(a.digest() == b.digest());
  CHECK(wire < 2 * value.size() + 20'000);
}

void Report(const char* what, Cache& a, Cache& b) {
  const Cost cost = CostOfPass(a, b);
  std::printf("%-42s %10.1f KiB on the wire %8.1f ms of CPU, both sides\n", what,
              static_cast<double>(cost.wire) / 1024, cost.cpu_ms);
  CHECK(a.digest() == b.digest());
}

TEST_CASE("the cost of a pass over 1,000,000 entries", "[.bench]") {
  Cache a;
  Cache b;
  Fill(kEntries, a);
  Fill(kEntries, b);
  Report("0 differ", a, b);
  Differ(1, a, b);
  Report("1 differs", a, b);
  Differ(1000, a, b);
  Report("1,000 differ", a, b);
  // Newer than what the first differences left behind.
  for (int i = 0; i < 100'000; ++i) (i % 2 == 0 ? a : b).Merge(EntryAt(i * 10, 7), kNow);
  Report("100,000 differ", a, b);
  Cache asker;
  Report("all lack at the asker", asker, b);
  Cache answerer;
  Report("all lack at the answerer", a, answerer);
}

}  // namespace
}  // namespace podmirror::wire
