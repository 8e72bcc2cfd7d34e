// What one watcher is told, and in which order.
#include <catch2/catch.hpp>

#include "watch_testing.h"

namespace podmirror::watch {
namespace {

Start From(std::uint64_t number, std::uint64_t incarnation = kIncarnation) {
  return {.resume = true, .since = Token{incarnation, number}};
}

std::string VersionText(std::uint64_t hlc) { return Version{hlc, 7}.ToString(); }

TEST_CASE("a token is read back as it was written, and nothing else is a token") {
  const Token token{0x0123456789abcdef, 42};
  CHECK(token.ToString() == "0123456789abcdef-000000000000002a");
  const auto read = Token::Parse(token.ToString());
  REQUIRE(read);
  CHECK(read->incarnation == token.incarnation);
  CHECK(read->number == token.number);
  for (const char* text :
       {"", "-", "1-2", "0123456789ABCDEF-000000000000002a", "0123456789abcdef-000000000000002a ",
        "0123456789abcdef_000000000000002a", "0123456789abcdef-00000000000000+a"}) {
    CHECK_FALSE(Token::Parse(text));
  }
}

TEST_CASE("who asks for nothing is synced at once and told each change") {
  Watched watched;
  watched.Put("before", 1);
  const auto watcher = watched.Open({});
  CHECK(ReadAll(*watcher) == "synced 2\n");
  CHECK(ReadAll(*watcher).empty());
  watched.Put("a", 2, "x");
  watched.Delete("a", 3);
  CHECK(ReadAll(*watcher) ==
        "put 3 1 a " + VersionText(2) + " x\ndelete 4 1 a " + VersionText(3) + " \n");
  watched.Put("a", 2, "x");  // older
  CHECK(ReadAll(*watcher).empty());
}

TEST_CASE("who asks for the state gets what is live, then synced") {
  Watched watched;
  watched.Put("a", 1, "x");
  watched.Put("b", 2, "y");
  watched.Put("c", 3, "z", kWall + 1);
  watched.Delete("b", 4);
  const auto watcher = Watcher::Open(watched.FeedOf(), {.initial = true}, {0, kWall + 1});
  std::string told;
  do {
    while (const PartRef part = watcher->Next({0, kWall + 1})) told += part->bytes();
  } while (watcher->more());
  CHECK(told == "put 0 1 a " + VersionText(1) + " x\nsynced 5\n");
}

TEST_CASE("an expiry is told as such, with the version of the put") {
  Watched watched;
  const auto watcher = watched.Open({});
  ReadAll(*watcher);
  watched.Put("a", 1, "x", kWall + 10);
  ReadAll(*watcher);
  watched.cache.Sweep(kWall + 10);
  CHECK(ReadAll(*watcher) == "delete! 3 1 a " + VersionText(1) + " \n");
  // Where the memory of it is let go at once, too; and of one that comes when it is over.
  watched.Put("b", 2, "x", kWall + 10);
  ReadAll(*watcher);
  watched.cache.RaiseFloor(2);
  watched.cache.Sweep(kWall + 10);
  CHECK(ReadAll(*watcher) == "delete! 5 1 b " + VersionText(2) + " \n");
  watched.Put("c", 3, "x");
  watched.Put("c", 4, "x", kWall - 1);
  CHECK(ReadAll(*watcher) ==
        "put 6 1 c " + VersionText(3) + " x\ndelete! 7 1 c " + VersionText(4) + " \n");
}

TEST_CASE("a delete that is not remembered is told, if it removed something") {
  Watched watched;
  const auto watcher = watched.Open({});
  watched.Put("a", 1, "x");
  ReadAll(*watcher);
  watched.cache.RaiseFloor(5);
  watched.Delete("a", 4);
  watched.Delete("b", 4);
  CHECK(ReadAll(*watcher) == "delete 3 1 a " + VersionText(4) + " \n");
}

TEST_CASE("only types and prefix asked for are told") {
  Watched watched;
  watched.Put("a/1", 1, "old", 0, 2);
  const auto watcher = watched.Open({.initial = true}, 0, {.types = {1, 2}, .prefix = "a/"});
  CHECK(ReadAll(*watcher) == "put 0 2 a/1 " + VersionText(1) + " old\nsynced 2\n");
  watched.Put("a/2", 2, "v", 0, 3);
  watched.Put("b/2", 3);
  watched.Put("a/3", 4);
  CHECK(ReadAll(*watcher) == "put 5 1 a/3 " + VersionText(4) + " v\n");
}

TEST_CASE("only what the reader may watch is told") {
  Watched watched;
  const auto reader = std::make_shared<const trust::Subject>(trust::Subject{
      "somebody",
      {},
      trust::Permissions({{.verbs = {trust::Verb::kWatch}, .types = {1}, .prefix = "mine."},
                          {.verbs = {trust::Verb::kRead}, .types = {1}, .prefix = ""}})});
  watched.Put("mine.1", 1, "x");
  watched.Put("other.1", 2, "x");
  const auto watcher = watched.Open({.initial = true}, 0, {.reader = reader});
  CHECK(ReadAll(*watcher) == "put 0 1 mine.1 " + VersionText(1) + " x\nsynced 3\n");
  watched.Delete("other.1", 3);
  watched.Delete("mine.1", 4);
  CHECK(ReadAll(*watcher) == "delete 5 1 mine.1 " + VersionText(4) + " \n");
}

TEST_CASE("a token of this daemon goes on where it was") {
  Watched watched;
  watched.Put("a", 1);
  watched.Put("b", 2, "x");
  const auto watcher = watched.Open(From(2));
  CHECK(ReadAll(*watcher) == "put 3 1 b " + VersionText(2) + " x\nsynced 3\n");
  // The token wins over the wish for the state.
  const auto both =
      watched.Open({.initial = true, .resume = true, .since = Token{kIncarnation, 3}});
  CHECK(ReadAll(*both) == "synced 3\n");
}

TEST_CASE("any other token is reset") {
  Watched watched;
  watched.Put("a", 1, "x");
  const std::string anew = "reset 0\nput 0 1 a " + VersionText(1) + " x\nsynced 2\n";
  CHECK(ReadAll(*watched.Open(From(2, 0xdef))) == anew);       // of another run
  CHECK(ReadAll(*watched.Open(From(3))) == anew);              // not come yet
  CHECK(ReadAll(*watched.Open(From(0))) == anew);              // from amid a state
  CHECK(ReadAll(*watched.Open({.resume = true})) == anew);     // none at all
  watched.cache.Drop(std::vector{KeyHash(1, "b")}, 9, kWall);  // nothing was there
  CHECK(ReadAll(*watched.Open(From(1))) != anew);
}

TEST_CASE("who falls out of the log is reset") {
  Watched watched(1000);
  const auto watcher = watched.Open({});
  ReadAll(*watcher);
  for (int i = 1; i <= 100; ++i) watched.Put("a", static_cast<std::uint64_t>(i), "x");
  CHECK(ReadAll(*watcher) == "reset 0\nput 0 1 a " + VersionText(100) + " x\nsynced 101\n");
}

TEST_CASE("what was dropped as dead is told by a reset") {
  Watched watched;
  watched.Put("a", 1, "x");
  watched.Put("b", 2, "x");
  const auto watcher = watched.Open({});
  ReadAll(*watcher);
  watched.cache.Drop(std::vector{KeyHash(1, "b")}, 2, kWall);
  CHECK(ReadAll(*watcher) == "reset 0\nput 0 1 a " + VersionText(1) + " x\nsynced 4\n");
  CHECK(ReadAll(*watched.Open(From(3))).starts_with("reset"));
}

TEST_CASE("after ten quiet seconds comes a bookmark, whose token is newer") {
  Watched watched;
  const auto watcher = watched.Open({}, 0, {.prefix = "a"});
  ReadAll(*watcher);
  watched.Put("b", 1);
  CHECK(ReadAll(*watcher, kBookmarkMs - 1).empty());
  CHECK(ReadAll(*watcher, kBookmarkMs) == "bookmark 2\n");
  CHECK(ReadAll(*watcher, 2 * kBookmarkMs - 1).empty());
  CHECK(ReadAll(*watcher, 2 * kBookmarkMs) == "bookmark 2\n");
}

TEST_CASE("watchers in the same place read the same part") {
  Watched watched;
  const auto one = watched.Open({});
  const auto two = watched.Open({});
  const auto other = watched.Open({}, 0, {.prefix = "a"});
  for (const auto* watcher : {&one, &two, &other}) ReadAll(**watcher);
  watched.Put("a", 1);
  const PartRef part = one->Next({0, kWall});
  REQUIRE(part);
  CHECK(two->Next({0, kWall}).get() == part.get());
  CHECK(other->Next({0, kWall}).get() != part.get());
  CHECK(watched.feeds.watchers() == 3);
}

TEST_CASE("who lags comes to read the parts of the others") {
  Watched watched;
  const auto quick = watched.Open({});
  const auto slow = watched.Open({});
  ReadAll(*quick);
  ReadAll(*slow);
  watched.Put("a", 1, "x");
  watched.Put("b", 2, "x");
  ReadAll(*quick);
  watched.Put("c", 3, "x");
  const PartRef part = quick->Next({0, kWall});
  slow->Next({0, kWall});
  CHECK(slow->Next({0, kWall}).get() == part.get());
}

TEST_CASE("parts keep within the budget, and whoever finds no room goes on later") {
  Watched watched(1024 * 1024, {.budget_bytes = 100});
  const auto one = watched.Open({.initial = true});
  const auto two = watched.Open({.initial = true}, 0, {.types = {1}});
  watched.Put("a", 1, std::string(80, 'x'));
  watched.Put("b", 2, std::string(80, 'y'));
  PartRef held = one->Next({0, kWall});  // more than there is, but alone
  REQUIRE(held);
  CHECK(held->bytes().size() > 100);
  CHECK_FALSE(two->Next({0, kWall}));
  CHECK_FALSE(two->Next({0, kWall}));
  held.reset();
  Copy copy;
  copy.Apply(ReadAll(*two));
  CHECK(copy.entries == Live(watched.cache));
}

TEST_CASE("parts that nobody reads any more take no room from what is to be told") {
  Watched watched(1024 * 1024, {.budget_bytes = 1000});
  const auto one = watched.Open({});
  const auto other = watched.Open({}, 0, {.prefix = "k"});
  ReadAll(*one);
  ReadAll(*other);
  for (int i = 1; i < 30; ++i) {
    watched.Put("k", i, std::string(i % 7 == 0 ? 900 : 80, 'x'));
    CHECK_FALSE(ReadAll(*one).empty());
    CHECK_FALSE(ReadAll(*other).empty());
    const auto late = watched.Open({.initial = true});
    CHECK_FALSE(ReadAll(*late).empty());
  }
}

TEST_CASE("what is left of a time to live is not told from an old part") {
  Watched watched(1024 * 1024);
  const auto quick = watched.Open({});
  const auto late = watched.Open({});
  ReadAll(*quick);
  ReadAll(*late);
  watched.Put("a", 1);
  const PartRef part = quick->Next({0, kWall});
  CHECK(late->Next({2000, kWall + 2000}).get() != part.get());
}

TEST_CASE("one call looks at so much and no more, however much is not wanted") {
  Watched watched(1 << 30);
  const auto before = watched.Open({}, 0, {.types = {2}});
  ReadAll(*before);
  for (int i = 0; i < 100'000; ++i) watched.Put("k" + std::to_string(i), 1);
  const auto state = watched.Open({.initial = true}, 0, {.types = {2}});
  for (Watcher* const watcher : {before.get(), state.get()}) {
    int calls = 1;
    while (!watcher->Next({kBookmarkMs, kWall}) && watcher->more()) ++calls;
    CHECK(calls > 2);
  }
}

TEST_CASE("there are no more watchers than allowed") {
  Watched watched(1024, {.max_watchers = 1});
  auto one = watched.Open({});
  REQUIRE(one);
  CHECK_FALSE(watched.Open({}));
  one.reset();
  CHECK(watched.Open({}));
}

}  // namespace
}  // namespace podmirror::watch
