// A follower and the caches of daemons, in memory: what it is told, it is told by them.
#include "follow/follower.h"

#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <variant>

#include "cache/change_log.h"
#include "sync/answers.h"

namespace podmirror::follow {
namespace {

constexpr WallMs kWall = 1'700'000'000'000;
constexpr sync::Asker kAsker{.floor = 0, .fragments = false};

struct Daemon {
  explicit Daemon(std::uint64_t an_id, std::uint64_t log_bytes = 1 << 20)
      : id(an_id), changes(log_bytes) {}

  void Put(const std::string& key, const std::string& value, std::uint64_t hlc) {
    cache.Merge(Entry::Make(1, key, value, {hlc, id}), 0);
  }
  void Delete(const std::string& key, std::uint64_t hlc) {
    cache.Merge(Entry::MakeTombstone(1, key, {hlc, id}), 0);
  }
  DaemonState State(WallMs wall) const {
    return {.incarnation = id,
            .digest = cache.digest(),
            .purge_floor = cache.purge_floor(),
            .expired_by = 0,
            .wall = wall,
            .steady = wall - kWall};
  }
  sync::Message Answer(const sync::Message& request) const {
    if (const auto* fetch = std::get_if<sync::Fetch>(&request)) {
      return AnswerFetch(cache, *fetch, kAsker);
    }
    if (const auto* sums = std::get_if<sync::SumsRequest>(&request)) {
      return AnswerSums(cache, *sums);
    }
    return AnswerOffer(cache, std::get<sync::Offer>(request), kAsker);
  }

  const std::uint64_t id;
  ChangeLog changes;
  Cache cache{&changes};
};

struct Copy {
  explicit Copy(std::uint64_t max_bytes = 1 << 30, Scope scope = Scope::kWhole)
      : follower(cache, scope, max_bytes) {}

  Now now() const { return {.steady = wall - kWall, .wall = wall}; }

  void Open(const Daemon& daemon) {
    follower.Opened(now());
    at = daemon.changes.last();
    Beat(daemon);
  }
  // The changes since, then the state; without a digest, as under writes that never pause.
  void Beat(const Daemon& daemon, bool digest = true) {
    Changes changes;
    std::vector<Change> some;
    if (daemon.changes.Read(at, SIZE_MAX, some)) {
      for (Change& change : some) changes.entries.push_back(std::move(change.entry));
    } else {
      changes.missed = true;
    }
    at = daemon.changes.last();
    changes.state = daemon.State(wall);
    if (!digest) changes.state->digest.reset();
    REQUIRE(follower.OnChanges(changes, now()).ok());
  }
  // All that it wants to ask. Returns how many questions.
  int Talk(const Daemon& daemon) {
    int questions = 0;
    while (auto request = follower.Next(now())) {
      REQUIRE(++questions < 100'000);
      REQUIRE(follower.OnReply(daemon.Answer(*request), now()).ok());
      follower.Merge();
    }
    return questions;
  }
  std::string Value(const std::string& key) const {
    const EntryRef entry = cache.Find(1, key, wall);
    return entry ? std::string(entry->value()) : "";
  }

  WallMs wall = kWall;
  std::uint64_t at = 0;
  Cache cache;
  Follower follower;
};

std::uint64_t HlcAt(WallMs wall) { return HlcOf(wall); }

TEST_CASE("follower: it copies, then each change comes") {
  Daemon daemon(1);
  for (std::uint64_t i = 0; i < 5000; ++i) {
    daemon.Put("k" + std::to_string(i), std::string(100, 'v'), HlcAt(kWall) + i);
  }
  Copy copy;
  copy.Open(daemon);
  CHECK_FALSE(copy.follower.complete());
  daemon.Put("meanwhile", "m", HlcAt(kWall) + 9000);
  copy.Talk(daemon);
  CHECK(copy.follower.complete());
  daemon.Delete("k7", HlcAt(kWall) + 9001);
  copy.Beat(daemon);
  CHECK(copy.cache.digest() == daemon.cache.digest());
  CHECK(copy.follower.equal());
  CHECK(copy.Value("meanwhile") == "m");
  CHECK(copy.Value("k7").empty());
  CHECK(copy.follower.received() < 5010);
}

TEST_CASE("follower: at another daemon the difference comes") {
  Daemon one(1);
  Daemon two(2);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    one.Put("k" + std::to_string(i), "v", HlcAt(kWall) + i);
    two.cache.Merge(one.cache.Peek(1, "k" + std::to_string(i)), 0);
  }
  Copy copy;
  copy.Open(one);
  copy.Talk(one);
  const std::uint64_t before = copy.follower.received();
  copy.follower.Lost();
  CHECK_FALSE(copy.follower.complete());
  CHECK(copy.follower.ever_complete());
  for (std::uint64_t i = 0; i < 50; ++i) {
    two.Put("k" + std::to_string(100 * i), "new", HlcAt(kWall) + 50'000 + i);
  }
  copy.Open(two);
  copy.Talk(two);
  CHECK(copy.follower.complete());
  CHECK(copy.cache.digest() == two.cache.digest());
  CHECK(copy.follower.received() == before + 50);
}

TEST_CASE("follower: a copy that goes on at another daemon is compared before it counts") {
  Daemon one(1);
  Daemon two(2, 16 << 20);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const std::string key = "k" + std::to_string(i);
    one.Put(key, std::string(200, 'v'), HlcAt(kWall) + i);
    two.cache.Merge(one.cache.Peek(1, key), 0);
  }
  Copy copy;
  copy.Open(one);
  REQUIRE(copy.follower.OnReply(one.Answer(*copy.follower.Next(copy.now())), copy.now()).ok());
  copy.follower.Merge();
  const std::uint64_t copied = copy.follower.received();
  REQUIRE(copied < 20'000);
  copy.follower.Lost();
  for (std::uint64_t i = 0; i < 1000; ++i) {
    two.Put("k" + std::to_string(i), "new", HlcAt(kWall) + 50'000 + i);
  }
  copy.Open(two);
  copy.Talk(two);
  CHECK(copy.follower.complete());
  CHECK(copy.cache.digest() == two.cache.digest());
  CHECK(copy.follower.received() <= 21'000);  // it went on where it was
}

TEST_CASE("follower: what the next daemon lacks stays for a while, then it goes") {
  Daemon one(1);
  Daemon two(2);
  one.Put("k", "old", HlcAt(kWall));
  two.cache.Merge(one.cache.Peek(1, "k"), 0);
  one.Put("k", "new", HlcAt(kWall) + 1);
  one.Put("only", "here", HlcAt(kWall) + 2);
  Copy copy;
  copy.Open(one);
  copy.Talk(one);
  copy.Open(two);
  copy.Talk(two);
  CHECK(copy.Value("k") == "new");
  CHECK(copy.Value("only") == "here");
  for (int i = 0; i < 40; ++i) {
    copy.wall += 1000;
    copy.Beat(two);
    copy.Talk(two);
  }
  CHECK(copy.Value("k") == "old");
  CHECK(copy.Value("only").empty());
  CHECK(copy.follower.equal());
}

TEST_CASE("follower: it looks again when changes were left out") {
  Daemon daemon(1, 1000);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    daemon.Put("k" + std::to_string(i), "v", HlcAt(kWall) + i);
  }
  copy.Beat(daemon);
  CHECK_FALSE(copy.follower.complete());
  copy.Talk(daemon);
  CHECK(copy.follower.complete());
  CHECK(copy.cache.digest() == daemon.cache.digest());
}

TEST_CASE("follower: forgotten tombstones are forgotten here, too") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  daemon.Delete("k", HlcAt(kWall) + 1);
  copy.Beat(daemon);
  CHECK(copy.cache.Stats().tombstones == 1);
  daemon.cache.RaiseFloor(HlcAt(kWall) + 2);
  daemon.cache.Purge();
  copy.Beat(daemon);
  CHECK(copy.cache.Stats().tombstones == 0);
  CHECK(copy.follower.equal());
}

TEST_CASE("follower: there is no room") {
  Daemon daemon(1);
  Copy copy(200'000);
  copy.Open(daemon);
  copy.Talk(daemon);
  Changes changes;
  changes.entries.push_back(Entry::Make(1, "k", std::string(300'000, 'v'), {HlcAt(kWall), 1}));
  CHECK(copy.follower.OnChanges(changes, copy.now()).code() == Code::kExhausted);
  CHECK(copy.Value("k").empty());
}

TEST_CASE("follower: when the daemon has deleted enough, there is room again") {
  Daemon daemon(1);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    daemon.Put("k" + std::to_string(i), std::string(1000, 'v'), HlcAt(kWall) + i);
  }
  Copy copy(1'000'000);
  copy.Open(daemon);
  Status status;
  while (auto request = copy.follower.Next(copy.now())) {
    status = copy.follower.OnReply(daemon.Answer(*request), copy.now());
    if (!status.ok()) break;
    copy.follower.Merge();
  }
  CHECK(status.code() == Code::kExhausted);
  CHECK(copy.cache.memory_bytes() <= 1'000'000);
  copy.follower.Lost();
  for (std::uint64_t i = 0; i < 1500; ++i) {
    daemon.Delete("k" + std::to_string(i), HlcAt(kWall) + 10'000 + i);
  }
  for (std::uint64_t i = 0; i < 200; ++i) {
    daemon.Put("new" + std::to_string(i), std::string(1000, 'v'), HlcAt(kWall) + 20'000 + i);
  }
  for (int rounds = 0; rounds < 3 && !copy.follower.equal(); ++rounds) {
    copy.Open(daemon);
    copy.Talk(daemon);
    Changes changes;
    changes.state = daemon.State(copy.wall);
    if (!copy.follower.OnChanges(changes, copy.now()).ok()) copy.follower.Lost();
  }
  CHECK(copy.follower.equal());
  CHECK(copy.cache.memory_bytes() <= 1'000'000);
}

TEST_CASE("follower: a pass without room for all is not complete, and says why") {
  Daemon daemon(1);
  daemon.Put("small", "v", HlcAt(kWall));
  Copy copy(200'000);
  copy.Open(daemon);
  copy.Talk(daemon);
  copy.follower.Lost();
  daemon.Put("huge", std::string(300'000, 'v'), HlcAt(kWall) + 1);
  daemon.Put("little", "v", HlcAt(kWall) + 2);
  copy.Open(daemon);
  copy.Talk(daemon);
  CHECK_FALSE(copy.follower.complete());
  CHECK(copy.Value("little") == "v");
  Changes changes;
  changes.state = daemon.State(copy.wall);
  CHECK(copy.follower.OnChanges(changes, copy.now()).code() == Code::kExhausted);
}

TEST_CASE("follower: what came by the stream after it was offered is not taken for lost") {
  Daemon daemon(1);
  daemon.Put("k", "1", HlcAt(kWall) + 1);
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  Daemon behind(2);  // it has not got k yet
  behind.Put("other", "v", HlcAt(kWall));
  copy.Open(behind);
  copy.wall += 60'000;  // what it holds alone is not on its way any more
  bool repaired = false;
  while (auto request = copy.follower.Next(copy.now())) {
    const bool offers = std::holds_alternative<sync::Offer>(*request);
    const sync::Message answer = behind.Answer(*request);
    if (offers && !std::exchange(repaired, true)) {
      behind.Put("k", "2", HlcAt(kWall) + 2);  // and now a pass of its own brings that
      copy.Beat(behind);
      REQUIRE(copy.Value("k") == "2");
    }
    REQUIRE(copy.follower.OnReply(answer, copy.now()).ok());
    copy.follower.Merge();
    CHECK(copy.Value("k") == (repaired ? "2" : "1"));
  }
  CHECK(repaired);
  CHECK(copy.Value("k") == "2");
}

TEST_CASE("follower: its age is that of what the daemon had told") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  Changes changes;
  changes.state = daemon.State(copy.wall);
  copy.wall += 3000;  // it was on its way for so long
  REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
  const SteadyMs age = copy.now().steady - copy.follower.as_of();
  CHECK(age <= 3000);
  CHECK(age > 2990);
  copy.Beat(daemon);
  CHECK(copy.follower.as_of() == copy.now().steady);
}

TEST_CASE("follower: a daemon's clock that falls behind does not make it old for ever") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  for (int i = 0; i < 1500; ++i) {
    copy.wall += 1000;
    Changes changes;
    changes.state = daemon.State(copy.wall);
    changes.state->steady -= 6000;  // its machine was stopped
    REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
  }
  CHECK(copy.now().steady - copy.follower.as_of() < 100);
}

TEST_CASE("follower: it is no older for large entries that are written all the time") {
  Daemon daemon(1);
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    daemon.cache.Merge(Entry::Make(1, "large", std::string(1 << 20, 'l'), {HlcAt(kWall) + i, 1}),
                       0);
    const EntryRef entry = daemon.cache.Peek(1, "large");
    Changes changes;
    changes.large = {{entry->key_hash(), entry->version()}};
    copy.wall += 1000;
    changes.state = daemon.State(copy.wall);
    const SteadyMs told_at = copy.now().steady;
    REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
    // The next one is told before this one has come.
    const auto request = copy.follower.Next(copy.now());
    REQUIRE(request);
    const sync::Message answer = daemon.Answer(*request);
    changes.state.reset();
    REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
    REQUIRE(copy.follower.OnReply(answer, copy.now()).ok());
    CHECK(copy.follower.complete());
    CHECK(copy.follower.as_of() >= told_at);
  }
}

TEST_CASE("follower: a copy of nothing is equal to nothing") {
  Daemon daemon(1);
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  copy.Beat(daemon);
  CHECK(copy.follower.equal());
}

TEST_CASE("follower: what the next daemon lacks stays however old it is") {
  Daemon one(1);
  Daemon two(2);
  one.Put("k", "v", HlcAt(kWall));
  two.Put("other", "v", HlcAt(kWall) + 1);
  Copy copy;
  copy.Open(one);
  copy.Talk(one);
  copy.wall += 3'600'000;
  copy.Open(two);
  copy.Talk(two);
  CHECK(copy.Value("k") == "v");
  copy.wall += 9'000;
  copy.Beat(two, false);
  copy.Talk(two);
  CHECK(copy.Value("k") == "v");
  copy.wall += 1'000;
  copy.Beat(two, false);
  copy.Talk(two);
  CHECK(copy.Value("k").empty());
}

TEST_CASE("follower: more large entries than it keeps in mind are found by a pass") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  daemon.Put("large", std::string(1 << 20, 'l'), HlcAt(kWall) + 1);
  const EntryRef entry = daemon.cache.Peek(1, "large");
  Changes one;
  one.large = {{entry->key_hash(), entry->version()}};
  REQUIRE(copy.follower.OnChanges(one, copy.now()).ok());
  const auto request = copy.follower.Next(copy.now());
  REQUIRE(request);
  Changes many;
  for (std::uint64_t i = 0; i < 5000; ++i) many.large.push_back({i, entry->version()});
  REQUIRE(copy.follower.OnChanges(many, copy.now()).ok());
  CHECK_FALSE(copy.follower.complete());
  REQUIRE(copy.follower.OnReply(daemon.Answer(*request), copy.now()).ok());
  copy.Talk(daemon);
  CHECK(copy.follower.complete());
  CHECK(copy.Value("large").size() == 1 << 20);
}

TEST_CASE("follower: a daemon that cannot be right is not followed") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  SECTION("a floor ahead of all clocks") {
    copy.follower.Opened(copy.now());
    Changes changes;
    changes.state = daemon.State(copy.wall);
    changes.state->purge_floor = UINT64_MAX;
    CHECK(copy.follower.OnChanges(changes, copy.now()).code() == Code::kInvalid);
    CHECK(copy.cache.purge_floor() == 0);
  }
  SECTION("a copy that brings nothing and goes on") {
    copy.Open(daemon);
    REQUIRE(copy.follower.Next(copy.now()));
    sync::FetchReply reply;
    reply.next = {1, 1};
    CHECK(copy.follower.OnReply(reply, copy.now()).code() == Code::kInvalid);
  }
  SECTION("a large entry in place of what was asked for") {
    copy.Open(daemon);
    copy.Talk(daemon);
    daemon.Put("k", "w", HlcAt(kWall) + 1);
    copy.follower.Lost();
    copy.Open(daemon);
    daemon.Put("k", "x", HlcAt(kWall) + 2);
    Status status;
    while (auto request = copy.follower.Next(copy.now())) {
      sync::Message answer = daemon.Answer(*request);
      if (auto* offered = std::get_if<sync::OfferReply>(&answer)) {
        offered->entries.clear();
        offered->large = {{daemon.cache.Peek(1, "k")->key_hash(), {HlcAt(kWall) + 2, 1}}};
      }
      status = copy.follower.OnReply(std::move(answer), copy.now());
      if (!status.ok()) break;
    }
    CHECK(status.code() == Code::kInvalid);
  }
}

TEST_CASE("follower: large entries are asked for") {
  Daemon daemon(1);
  Copy copy;
  copy.Open(daemon);
  copy.Talk(daemon);
  daemon.Put("large", std::string(1 << 20, 'l'), HlcAt(kWall));
  Changes changes;
  const EntryRef entry = daemon.cache.Peek(1, "large");
  changes.large.push_back({entry->key_hash(), entry->version()});
  REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
  CHECK(copy.Talk(daemon) == 1);
  CHECK(copy.Value("large").size() == 1 << 20);
}

TEST_CASE("follower: an answer to nothing, or one that leads nowhere") {
  Daemon daemon(1);
  daemon.Put("k", "v", HlcAt(kWall));
  Copy copy;
  copy.Open(daemon);
  CHECK(copy.follower.OnReply(sync::Sums{}, copy.now()).code() == Code::kInvalid);
  copy.Open(daemon);
  REQUIRE(copy.follower.Next(copy.now()));
  CHECK(copy.follower.OnReply(sync::FetchReply{}, copy.now()).code() == Code::kInvalid);
}

// A part is told, never asked for: what it is, then what changes.
struct Part {
  void Tell(std::vector<EntryRef> entries, bool synced = false, bool missed = false) {
    Changes changes{.entries = std::move(entries), .missed = missed, .synced = synced};
    changes.state = DaemonState{.incarnation = 1, .expired_by = kWall, .wall = kWall};
    REQUIRE(copy.follower.OnChanges(changes, copy.now()).ok());
    CHECK_FALSE(copy.follower.Next(copy.now()));
  }
  static EntryRef Put(const std::string& key, const std::string& value, std::uint64_t count) {
    return Entry::Make(1, key, value, {HlcAt(kWall) + count, 1});
  }

  Copy copy{1 << 30, Scope::kPart};
};

TEST_CASE("follower: a part is there when its state is complete") {
  Part part;
  part.copy.follower.Opened(part.copy.now());
  part.Tell({Part::Put("a", "1", 1)});
  CHECK_FALSE(part.copy.follower.complete());
  part.Tell({}, true);
  CHECK(part.copy.follower.complete());
  CHECK(part.copy.Value("a") == "1");
  part.Tell({Part::Put("b", "2", 2), Entry::MakeTombstone(1, "a", {HlcAt(kWall) + 3, 1})});
  CHECK(part.copy.Value("a").empty());
  CHECK(part.copy.Value("b") == "2");
  CHECK(part.copy.cache.Stats().tombstones == 0);
}

TEST_CASE("follower: the next daemon's state of a part takes the place of the last one's") {
  Part part;
  part.copy.follower.Opened(part.copy.now());
  part.Tell({Part::Put("same", "1", 1), Part::Put("lost", "1", 2), Part::Put("newer", "1", 3),
             Part::Put("older", "1", 4)});
  part.Tell({}, true);
  part.copy.follower.Lost();
  CHECK_FALSE(part.copy.follower.complete());
  part.copy.follower.Opened(part.copy.now());
  part.Tell({Part::Put("same", "1", 1), Part::Put("newer", "2", 5)});
  CHECK(part.copy.Value("newer") == "2");      // that is known
  CHECK(part.copy.Value("lost") == "1");       // until all is told
  part.copy.follower.Opened(part.copy.now());  // and again, at a third one
  part.Tell({Part::Put("same", "1", 1), Part::Put("newer", "2", 5), Part::Put("older", "0", 0)});
  part.Tell({}, true);
  CHECK(part.copy.Value("same") == "1");
  CHECK(part.copy.Value("lost").empty());
  CHECK(part.copy.Value("newer") == "2");
  CHECK(part.copy.Value("older") == "0");
}

TEST_CASE("follower: a part that was written anew needs no room for both") {
  constexpr std::size_t kBytes = 100'000;
  Part part{.copy = Copy{5 * kBytes, Scope::kPart}};
  const auto all = [&](std::uint64_t first, char value) {
    std::vector<EntryRef> entries;
    for (std::uint64_t i = 0; i < 4; ++i) {
      entries.push_back(Part::Put("k" + std::to_string(i), std::string(kBytes, value), first + i));
    }
    return entries;
  };
  part.copy.follower.Opened(part.copy.now());
  part.Tell(all(0, 'a'), true);
  part.copy.follower.Opened(part.copy.now());
  part.Tell(all(10, 'b'), true);
  CHECK(part.copy.Value("k3") == std::string(kBytes, 'b'));
  // Older ones have to wait beside the newer, and for that there is no room.
  part.copy.follower.Opened(part.copy.now());
  CHECK(part.copy.follower.OnChanges({.entries = all(5, 'c')}, part.copy.now()).code() ==
        Code::kExhausted);
}

TEST_CASE("follower: a part of which changes were missed is told anew") {
  Part part;
  part.copy.follower.Opened(part.copy.now());
  part.Tell({Part::Put("a", "1", 1)}, true);
  part.Tell({}, false, true);
  CHECK_FALSE(part.copy.follower.complete());
  CHECK(part.copy.Value("a") == "1");
  part.Tell({Part::Put("b", "1", 2)}, true);
  CHECK(part.copy.follower.complete());
  CHECK(part.copy.Value("a").empty());
  CHECK(part.copy.Value("b") == "1");
}

// Whatever happens to daemons and streams: in the end it is equal.
TEST_CASE("follower: it is equal in the end") {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    Daemon daemons[2] = {Daemon(1, 2000), Daemon(2, 1 << 20)};
    Copy copy;
    int followed = -1;
    std::uint64_t hlc = HlcAt(kWall);
    for (int step = 0; step < 300; ++step) {
      Daemon& writer = daemons[below(2)];
      const std::string key = "k" + std::to_string(below(100));
      hlc = std::max(hlc + 1, HlcAt(copy.wall));
      switch (below(8)) {
        case 0:
        case 1:
        case 2:
          writer.Put(key, std::to_string(step), hlc);
          break;
        case 3:
          writer.Delete(key, hlc);
          break;
        case 4: {  // what one has goes to the other
          Daemon& other = daemons[&writer == &daemons[0] ? 1 : 0];
          for (std::uint32_t bucket = writer.cache.NextStored(0); bucket < kBuckets;
               bucket = writer.cache.NextStored(bucket + 1)) {
            for (EntryRef& entry : writer.cache.Bucket(bucket)) {
              other.cache.Merge(std::move(entry), 0);
            }
          }
          break;
        }
        case 5:
          followed = static_cast<int>(below(2));
          copy.Open(daemons[followed]);
          break;
        case 6:
          if (followed < 0) break;
          if (auto request = copy.follower.Next(copy.now())) {
            REQUIRE(copy.follower.OnReply(daemons[followed].Answer(*request), copy.now()).ok());
            if (below(2) == 0) copy.follower.Merge();
          }
          copy.follower.Merge();
          break;
        default:
          copy.wall += static_cast<WallMs>(below(2000));
          if (followed >= 0) copy.Beat(daemons[followed]);
      }
    }
    copy.Open(daemons[0]);
    for (int i = 0; i < 100 && !copy.follower.equal(); ++i) {
      copy.Talk(daemons[0]);
      copy.wall += 1000;
      copy.Beat(daemons[0]);
    }
    CHECK(copy.follower.complete());
    CHECK(copy.cache.digest() == daemons[0].cache.digest());
  }
}

}  // namespace
}  // namespace podmirror::follow
