// Reads that wait, without sockets: when each is answered.
#include "rest/polls.h"

#include <catch2/catch.hpp>
#include <string>

#include "cache/cache.h"

namespace podmirror::rest {
namespace {

class StillEnv final : public Env {
 public:
  Now now() const override { return at; }
  std::uint64_t Random() override { return 1; }
  Now at;
};

struct Reads {
  explicit Reads(int max_watchers = 1000)
      : feeds(cache, changes, {.max_watchers = max_watchers}), polls(feeds, env) {}

  void Put(const std::string& key, std::uint64_t hlc) {
    cache.Merge(Entry::Make(1, key, "v", {hlc, 1}), 0);
    polls.Look();
  }
  // A read of `key` that waits for another version than that of `hlc`.
  bool Add(const std::string& key, std::uint64_t hlc, std::uint64_t as_of, SteadyMs until = 1000) {
    const std::string tag = "\"" + Version{hlc, 1}.ToString() + "\"";
    return polls.Add({{.type = 1, .key = key, .none_match = {tag}},
                      as_of,
                      until,
                      [this, key](const Response& response) {
                        answers += key + " " + std::to_string(response.status) + "\n";
                      },
                      [this] { return left; }});
  }
  bool Add(const std::string& key, std::uint64_t hlc) { return Add(key, hlc, changes.last()); }

  ChangeLog changes{1000};
  Cache cache{&changes};
  watch::Feeds feeds;
  StillEnv env;
  Polls polls;
  std::string answers;
  bool left = false;  // all clients have hung up
};

TEST_CASE("a read that waits is answered when its own entry changes") {
  Reads reads;
  reads.Put("a", 1);
  reads.Put("b", 1);
  CHECK_FALSE(reads.polls.waiting());
  reads.Add("a", 1);
  reads.Add("b", 1);
  CHECK(reads.polls.waiting());
  reads.Put("other", 1);
  CHECK(reads.answers.empty());
  reads.Put("b", 2);
  CHECK(reads.answers == "b 200\n");
  reads.cache.Merge(Entry::MakeTombstone(1, "a", {2, 1}), 0);
  reads.polls.Look();
  CHECK(reads.answers == "b 200\na 404\n");
  CHECK(reads.feeds.watchers() == 0);
  CHECK_FALSE(reads.polls.waiting());
}

TEST_CASE("what changed before a read began to wait, it does not miss") {
  Reads reads;
  reads.Put("a", 1);
  const std::uint64_t as_of = reads.changes.last();
  reads.Put("a", 2);
  reads.Add("a", 1, as_of);
  reads.polls.Look();
  CHECK(reads.answers == "a 200\n");
  // Nor does one that others wait beside, nor where the change is forgotten already.
  reads.Add("a", 2);
  const std::uint64_t before = reads.changes.last();
  reads.Put("b", 3);
  for (std::uint64_t hlc = 1; hlc <= 100; ++hlc) reads.Put("c", hlc);
  reads.Add("b", 2, before);
  reads.polls.Look();
  CHECK(reads.answers == "a 200\nb 200\n");
}

TEST_CASE("of many reads that are to be answered, each look answers some") {
  Reads reads;
  reads.Put("a", 1);
  for (int i = 0; i < 200; ++i) reads.Add("a", 1);
  reads.cache.Merge(Entry::Make(1, "a", "v", {2, 1}), 0);
  int looks = 1;
  while (reads.polls.Look()) ++looks;
  CHECK(looks > 2);
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("a read is answered when its time is over, or when all ends") {
  Reads reads;
  reads.Put("a", 1);
  reads.Add("a", 1, reads.changes.last(), 100);
  reads.Add("a", 1, reads.changes.last(), 200);
  reads.env.at.steady = 99;
  reads.polls.Tick();
  CHECK(reads.answers.empty());
  reads.env.at.steady = 100;
  reads.polls.Tick();
  CHECK(reads.answers == "a 304\n");
  reads.polls.End();
  CHECK(reads.answers == "a 304\na 304\n");
  reads.Add("a", 1, reads.changes.last(), 300);
  reads.polls.Look();
  CHECK(reads.answers == "a 304\na 304\na 304\n");
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("a read whose client has left waits no more") {
  Reads reads;
  reads.Put("a", 1);
  reads.Add("a", 1);
  reads.polls.Tick();
  CHECK(reads.feeds.watchers() == 1);
  reads.left = true;
  reads.polls.Tick();
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("no more reads wait than there may be watchers") {
  Reads reads(1);
  reads.Put("a", 1);
  CHECK(reads.Add("a", 1));
  CHECK_FALSE(reads.Add("a", 1));
  reads.Put("a", 2);
  CHECK(reads.Add("a", 2));
}

}  // namespace
}  // namespace podmirror::rest
