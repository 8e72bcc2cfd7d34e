// Reads that wait, without sockets: when each is answered.
#include "rest/polls.h"

#include <catch2/catch.hpp>
#include <string>

#include "cache/cache.h"

namespace podmirror::rest {
namespace {

struct Reads {
  explicit Reads(int max_watchers = 10)
      : feeds(cache, changes, {.max_watchers = max_watchers}), polls(feeds) {
    changes.AddListener([this] { polls.Look(); });
  }

  void Put(const std::string& key, std::uint64_t hlc) {
    cache.Merge(Entry::Make(1, key, "v", {hlc, 1}), 0);
  }
  // A read of `key` that waits for another version than that of `hlc`.
  bool Add(const std::string& key, std::uint64_t hlc, std::uint64_t as_of, SteadyMs until = 1000) {
    return polls.Add({KeyHash(1, key), as_of, until,
                      [this, key, hlc] {
                        const EntryRef entry = cache.Find(1, key, 0);
                        Response response;
                        response.status = !entry ? 404 : entry->version().hlc == hlc ? 304 : 200;
                        return response;
                      },
                      [this, key](const Response& response) {
                        answers += key + " " + std::to_string(response.status) + "\n";
                      },
                      [this] { return left; }});
  }

  ChangeLog changes{1000};
  Cache cache{&changes};
  watch::Feeds feeds;
  Polls polls;
  std::string answers;
  bool left = false;  // all clients have hung up
};

TEST_CASE("a read that waits is answered when its own entry changes") {
  Reads reads;
  reads.Put("a", 1);
  reads.Put("b", 1);
  reads.Add("a", 1, reads.changes.last());
  reads.Add("b", 1, reads.changes.last());
  reads.Put("other", 1);
  CHECK(reads.answers.empty());
  reads.Put("b", 2);
  CHECK(reads.answers == "b 200\n");
  reads.cache.Merge(Entry::MakeTombstone(1, "a", {2, 1}), 0);
  CHECK(reads.answers == "b 200\na 404\n");
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("what changed before a read began to wait, it does not miss") {
  Reads reads;
  reads.Put("a", 1);
  const std::uint64_t as_of = reads.changes.last();
  reads.Put("a", 2);
  reads.Add("a", 1, as_of);
  CHECK(reads.answers == "a 200\n");
  // Nor does one that others wait beside, nor where the change is forgotten already.
  reads.answers.clear();
  reads.Add("b", 1, reads.changes.last());
  reads.answers.clear();
  const std::uint64_t before = reads.changes.last();
  reads.Put("a", 3);
  for (std::uint64_t hlc = 1; hlc <= 100; ++hlc) reads.Put("c", hlc);
  reads.Add("a", 2, before);
  CHECK(reads.answers.find("a 200\n") != std::string::npos);
}

TEST_CASE("a read is answered when its time is over, or when all ends") {
  Reads reads;
  reads.Put("a", 1);
  reads.Add("a", 1, reads.changes.last(), 100);
  reads.Add("a", 1, reads.changes.last(), 200);
  reads.polls.Tick(99);
  CHECK(reads.answers.empty());
  reads.polls.Tick(100);
  CHECK(reads.answers == "a 304\n");
  reads.polls.End();
  CHECK(reads.answers == "a 304\na 304\n");
  reads.Add("a", 1, reads.changes.last(), 300);
  CHECK(reads.answers == "a 304\na 304\na 304\n");
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("a read whose client has left waits no more") {
  Reads reads;
  reads.Put("a", 1);
  reads.Add("a", 1, reads.changes.last());
  reads.polls.Tick(1);
  CHECK(reads.feeds.watchers() == 1);
  reads.left = true;
  reads.polls.Tick(1);
  CHECK(reads.feeds.watchers() == 0);
}

TEST_CASE("no more reads wait than there may be watchers") {
  Reads reads(1);
  reads.Put("a", 1);
  CHECK(reads.Add("a", 1, reads.changes.last()));
  CHECK_FALSE(reads.Add("a", 1, reads.changes.last()));
  reads.Put("a", 2);
  CHECK(reads.Add("a", 2, reads.changes.last()));
}

}  // namespace
}  // namespace podmirror::rest
