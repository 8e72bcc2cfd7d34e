#include "sync/link.h"

#include <catch2/catch.hpp>
#include <limits>

#include "sync/answers.h"
#include "sync/hlc.h"
#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

HelloReply ReplyOf(Incarnation incarnation) {
  HelloReply reply;
  reply.self.incarnation = incarnation;
  reply.self.uid = "uid-2";
  reply.self.synced = true;
  return reply;
}

// A link with its backlog, on a clock of its own.
struct Fixture {
  void Append(std::size_t count, std::size_t value_bytes = 10) {
    for (std::size_t i = 0; i < count; ++i) {
      const Version version{backlog.last() + 1, 1};
      backlog.Append(Entry::Make(1, "k", std::string(value_bytes, 'v'), version), fallen);
    }
  }
  bool Open(Incarnation incarnation) {
    link.connection().Dialled(++conn, now);
    link.connection().Opened(now);
    return link.Accept(ReplyOf(incarnation), backlog, now);
  }
  void Lose(Code code = Code::kUnavailable) { link.Lost(code, "reset", now, 0); }
  // A whole pass without a difference.
  void RunPass() {
    link.BeginPass(1, 100, backlog, now);
    FinishPass();
  }
  void FinishPass() {
    Cache cache;
    Pass& pass = *link.passes().pass();
    (void)pass.Next(cache);
    pass.OnSums(AnswerSums(cache, {1, {}}), cache);
    REQUIRE(pass.done());
    link.EndPass(now, now + 10'000);
  }
  // The peer holds write m for certain (Run, invariant 1).
  bool Holds(std::uint64_t m) const {
    const Run& run = link.run();
    return (run.start() <= m && m <= run.acked()) || m <= run.covered();
  }

  std::vector<EntryRef> fallen;
  Backlog backlog{10'000};
  Link link{RecordOf(2), 1, 0};
  SteadyMs now = 1000;
  ConnId conn = 0;
};

TEST_CASE("a first connection starts at the head: only a pass covers what was before") {
  Fixture f;
  f.Append(3);
  CHECK(f.Open(7));
  CHECK(f.link.run().broken());
  CHECK_FALSE(f.link.BatchDue(f.backlog));
  CHECK_FALSE(f.Holds(3));
  f.RunPass();
  CHECK(f.Holds(3));
  CHECK_FALSE(f.Holds(4));
  CHECK_FALSE(f.link.run().broken());
}

TEST_CASE("one batch is in flight, and its acknowledgement moves the run") {
  Fixture f;
  f.Open(7);
  f.Append(2);
  REQUIRE(f.link.BatchDue(f.backlog));
  const Batch batch = f.link.run().NextBatch(f.backlog);
  CHECK(batch.first_seq == 1);
  CHECK(batch.last_seq == 2);
  CHECK(batch.entries.size() == 2);
  f.Append(1);
  CHECK_FALSE(f.link.BatchDue(f.backlog));
  CHECK_FALSE(f.Holds(1));
  f.link.run().OnAck(2, f.now);
  CHECK(f.Holds(1));
  CHECK(f.Holds(2));
  CHECK_FALSE(f.Holds(3));
  REQUIRE(f.link.BatchDue(f.backlog));
  CHECK(f.link.run().NextBatch(f.backlog).first_seq == 3);
}

TEST_CASE("a batch is bounded in entries and bytes, and holds at least one") {
  Fixture f;
  f.backlog = Backlog(100'000'000);
  f.Open(7);
  SECTION("entries") {
    f.Append(kBatchEntries + 5, 0);
    CHECK(f.link.run().NextBatch(f.backlog).entries.size() == kBatchEntries);
  }
  SECTION("bytes") {
    f.Append(10, kChunkBytes / 2);
    CHECK(f.link.run().NextBatch(f.backlog).entries.size() == 2);
  }
  SECTION("one large write") {
    f.Append(2, 5 * kChunkBytes);
    CHECK(f.link.run().NextBatch(f.backlog).entries.size() == 1);
  }
}

TEST_CASE("the same incarnation goes on where it was, and gets unacknowledged writes again") {
  Fixture f;
  f.Open(7);
  f.RunPass();
  f.Append(2);
  f.link.run().NextBatch(f.backlog);
  f.link.run().OnAck(2, f.now);
  f.Append(2);
  f.link.run().NextBatch(f.backlog);
  f.Lose();
  f.Append(1);
  CHECK_FALSE(f.Open(7));
  CHECK_FALSE(f.link.run().broken());
  CHECK(f.Holds(2));
  CHECK_FALSE(f.Holds(3));
  const Batch batch = f.link.run().NextBatch(f.backlog);
  CHECK(batch.first_seq == 3);
  CHECK(batch.last_seq == 5);
}

TEST_CASE("a new incarnation holds nothing of what the old one acknowledged") {
  Fixture f;
  f.Open(7);
  f.Append(2);
  f.link.run().NextBatch(f.backlog);
  f.link.run().OnAck(2, f.now);
  f.RunPass();
  f.Lose();
  f.Append(1);
  CHECK(f.Open(8));
  for (std::uint64_t m = 1; m <= 3; ++m) CHECK_FALSE(f.Holds(m));
  f.Append(1);
  CHECK(f.link.run().NextBatch(f.backlog).first_seq == 4);
}

TEST_CASE("a cursor that falls out of the backlog jumps to the head, and acknowledges nothing") {
  Fixture f;
  f.Open(7);
  f.RunPass();
  f.Append(1);
  SECTION("while connected") {
    f.Append(500);
    CHECK(f.link.RestartIfDue(f.backlog));
  }
  SECTION("while not connected") {
    f.Lose();
    f.Append(500);
    CHECK_FALSE(f.link.RestartIfDue(f.backlog));
    CHECK(f.Open(7));
  }
  CHECK(f.link.run().broken());
  CHECK_FALSE(f.link.BatchDue(f.backlog));
  CHECK_FALSE(f.Holds(1));
  CHECK_FALSE(f.Holds(501));
  f.RunPass();
  CHECK(f.Holds(501));
}

TEST_CASE("the run restarts when the batch in flight is answered, and not before") {
  Fixture f;
  f.Open(7);
  f.Append(1);
  f.link.run().NextBatch(f.backlog);
  f.Append(1000);
  CHECK_FALSE(f.link.RestartIfDue(f.backlog));
  CHECK_FALSE(f.link.BatchDue(f.backlog));
  CHECK(f.link.run().OnAck(1, f.now));
  CHECK(f.Holds(1));
  REQUIRE(f.link.RestartIfDue(f.backlog));
  CHECK_FALSE(f.Holds(1000));
  f.Append(1);
  CHECK(f.link.run().NextBatch(f.backlog).last_seq == 1002);
  f.link.run().OnAck(1, f.now);
  f.link.run().OnAck(5000, f.now);
  CHECK_FALSE(f.Holds(1002));
  f.link.run().OnAck(1002, f.now);
  CHECK(f.Holds(1002));
}

TEST_CASE("a pass covers only what was in the cache when it began") {
  Fixture f;
  f.Open(7);
  f.Append(500);
  f.link.RestartIfDue(f.backlog);
  f.link.BeginPass(1, 100, f.backlog, f.now);
  f.Append(500);
  REQUIRE(f.link.RestartIfDue(f.backlog));
  f.FinishPass();
  CHECK(f.Holds(500));
  CHECK_FALSE(f.Holds(501));
  CHECK(f.link.run().broken());  // the second jump is not healed yet
}

TEST_CASE("a pass that becomes due while one runs comes right after it") {
  Fixture f;
  f.Open(7);
  f.Append(1);
  f.link.BeginPass(1, 100, f.backlog, f.now);
  SECTION("it was asked for") { f.link.passes().Want(); }
  SECTION("the cursor jumped") {
    f.Append(500);
    REQUIRE(f.link.RestartIfDue(f.backlog));
  }
  f.FinishPass();
  CHECK(f.link.passes().Due(f.now));
}

TEST_CASE("silence counts the same whatever is under way") {
  Fixture f;
  f.backlog = Backlog(100'000'000);
  f.Open(7);
  SECTION("nothing") {}
  SECTION("a pass") { f.link.BeginPass(1, 100, f.backlog, f.now); }
  SECTION("a batch") {
    f.Append(100, 10'000);
    (void)f.link.run().NextBatch(f.backlog);
  }
  CHECK_FALSE(f.link.connection().TimedOut(f.now + kSilenceMs));
  CHECK(f.link.connection().TimedOut(f.now + kSilenceMs + 1));
}

TEST_CASE("a lost stream ends the pass; what it covered before stays") {
  Fixture f;
  f.Open(7);
  f.Append(2);
  f.RunPass();
  f.link.BeginPass(2, 200, f.backlog, f.now);
  f.Lose();
  CHECK_FALSE(f.link.passes().pass());
  CHECK(f.Holds(2));
  CHECK(f.link.passes().contact() == 100);
}

TEST_CASE("back-off grows up to its limit, and a connection ends it") {
  Fixture f;
  std::int64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    f.link.connection().Dialled(++f.conn, f.now);
    f.link.Lost(Code::kUnavailable, "refused", f.now, 0);
    CHECK_FALSE(f.link.connection().DialDue(f.now));
    std::int64_t wait = 0;
    while (!f.link.connection().DialDue(f.now + wait)) ++wait;
    CHECK(wait >= last);
    CHECK(wait <= kMaxBackoffMs);
    last = wait;
  }
  CHECK(last == kMaxBackoffMs / 2);  // without jitter
  f.link.Lost(Code::kUnavailable, "refused", f.now, std::numeric_limits<std::uint64_t>::max());
  CHECK(f.link.connection().DialDue(f.now + 2 * kMaxBackoffMs));
  CHECK_FALSE(f.link.connection().reachable());
  f.Open(7);
  CHECK(f.link.connection().reachable());
  CHECK(f.link.connection().failures() == 0);
  f.Lose();
  CHECK(f.link.connection().DialDue(f.now + kMinBackoffMs));
}

TEST_CASE("a hello of the peer ends the back-off, but not that of a refused one") {
  Fixture f;
  f.link.connection().Dialled(++f.conn, f.now);
  SECTION("lost") {
    f.Lose();
    f.link.connection().RetryNow();
    CHECK(f.link.connection().DialDue(f.now));
  }
  SECTION("refused") {
    f.link.connection().Refuse(RefusalReason::kOtherCluster, "it is of another cluster");
    f.Lose(Code::kRefused);
    f.link.connection().RetryNow();
    CHECK_FALSE(f.link.connection().DialDue(f.now));
    CHECK_FALSE(f.link.connection().reachable());
    CHECK(f.link.connection().error() == "it is of another cluster");
    CHECK(f.link.connection().DialDue(f.now + 2 * kRefusedBackoffMs));
  }
}

TEST_CASE("a silent stream times out, in every phase") {
  Fixture f;
  CHECK_FALSE(f.link.connection().TimedOut(f.now));
  f.link.connection().Dialled(1, f.now);
  CHECK_FALSE(f.link.connection().TimedOut(f.now + kHandshakeMs));
  CHECK(f.link.connection().TimedOut(f.now + kHandshakeMs + 1));
  f.link.connection().Opened(f.now);
  CHECK(f.link.connection().TimedOut(f.now + kHandshakeMs + 1));
  f.link.Accept(ReplyOf(7), f.backlog, f.now);
  CHECK_FALSE(f.link.connection().TimedOut(f.now + kSilenceMs));
  f.link.connection().Heard(f.now + 100);
  CHECK_FALSE(f.link.connection().TimedOut(f.now + kSilenceMs + 100));
  CHECK(f.link.connection().TimedOut(f.now + kSilenceMs + 101));
}

TEST_CASE("a peer that does not know our service is tried as a legacy one at once, and back") {
  Fixture f;
  f.link.connection().Dialled(++f.conn, f.now);
  f.Lose(Code::kUnimplemented);
  CHECK(f.link.legacy());
  CHECK(f.link.connection().DialDue(f.now));
  SECTION("it knows neither") {
    f.link.connection().Dialled(++f.conn, f.now);
    f.Lose(Code::kUnimplemented);
    CHECK_FALSE(f.link.legacy());
    CHECK_FALSE(f.link.connection().DialDue(f.now));
    CHECK_FALSE(f.link.connection().reachable());
  }
  SECTION("it is a legacy one") {
    HelloReply reply;
    reply.legacy = true;
    f.link.connection().Dialled(++f.conn, f.now);
    f.link.connection().Opened(f.now);
    CHECK_FALSE(f.link.Accept(reply, f.backlog, f.now));
    CHECK(f.link.legacy());
    CHECK_FALSE(f.link.synced());
    f.Lose();
    CHECK_FALSE(f.link.legacy());  // it may have been replaced by a newer one
  }
  SECTION("any other failure keeps to our protocol") {
    f.link.connection().Dialled(++f.conn, f.now);
    f.Lose(Code::kUnavailable);
    CHECK_FALSE(f.link.legacy());
  }
}

TEST_CASE("a legacy peer gets on each connection what the last one left, as far as it is kept") {
  Fixture f;
  HelloReply reply;
  reply.legacy = true;
  reply.self.incarnation = 5;
  const auto connect = [&] {
    f.link.connection().Dialled(++f.conn, f.now);
    f.link.connection().Opened(f.now);
    f.link.Accept(reply, f.backlog, f.now);
  };
  f.Append(1);
  connect();  // the first time: what was before comes by the pass of the oldest daemon
  CHECK_FALSE(f.link.BatchDue(f.backlog));
  f.Append(1);
  CHECK(f.link.run().NextBatch(f.backlog).last_seq == 2);
  f.Lose();
  f.Append(1);
  connect();
  const Batch batch = f.link.run().NextBatch(f.backlog);
  CHECK(batch.first_seq == 2);
  CHECK(batch.last_seq == 3);
  CHECK(f.link.run().held() == 1);
  f.link.run().OnAck(3, f.now);
  CHECK(f.link.run().held() == 3);  // nothing is said to be behind for ever
}

// --- the clock ---

TEST_CASE("the hybrid clock is always ahead of all that it has seen") {
  Hlc hlc;
  const std::uint64_t first = hlc.Next(1000);
  CHECK(first == HlcOf(1000));
  CHECK(hlc.Next(1000) == first + 1);
  CHECK(hlc.Next(900) == first + 2);  // the wall clock went back
  CHECK(hlc.Next(2000) == HlcOf(2000));
  hlc.Observe(HlcOf(5000) + 3);
  CHECK(hlc.Next(2001) == HlcOf(5000) + 4);
  hlc.Observe(1);
  CHECK(hlc.Next(2002) == HlcOf(5000) + 5);
  CHECK(hlc.Current(2003) == HlcOf(5000) + 5);
  CHECK(hlc.Current(9000) == HlcOf(9000));
  CHECK(hlc.Current(2003) == HlcOf(5000) + 5);  // asking uses nothing up
}

TEST_CASE("a version is acceptable up to 24 h ahead of the wall clock") {
  CHECK(Hlc::Acceptable(HlcOf(1000 + kMaxSkewMs), 1000));
  CHECK_FALSE(Hlc::Acceptable(HlcOf(1001 + kMaxSkewMs), 1000));
  CHECK(Hlc::Acceptable(1, kStartWall));
  CHECK_FALSE(Hlc::Acceptable(std::numeric_limits<std::uint64_t>::max(), kStartWall));
}

}  // namespace
}  // namespace podmirror::sync
