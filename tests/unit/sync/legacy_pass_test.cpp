#include "sync/legacy_pass.h"

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "sync/repair_testing.h"
#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

// A service that knows only hellorpc.Sync.
struct LegacyPeer {
  FetchReply GetAll() const {
    FetchReply reply;
    for (const auto& [key, value] : values) {
      reply.entries.push_back(Entry::Make(key.first, key.second, value, LegacyVersion(value)));
    }
    reply.done = true;
    return reply;
  }
  void Set(const std::vector<EntryRef>& entries) {
    for (const EntryRef& entry : entries) {
      CHECK_FALSE(entry->tombstone());
      values[KeyOf(*entry)] = entry->value();
    }
  }

  std::map<Key, std::string> values;
};

struct Sent {
  std::uint64_t pushes = 0;
  std::uint64_t entries = 0;
  std::size_t largest = 0;  // bytes of entries in one Push
};

Sent RunLegacyPass(const Cache& cache, LegacyPeer& peer) {
  Sent sent;
  LegacyPass pass(7);
  REQUIRE(std::holds_alternative<Fetch>(*pass.Next(cache, kNow)));
  CHECK_FALSE(pass.HasNext());
  pass.OnFetchReply(peer.GetAll());
  while (std::optional<Message> request = pass.Next(cache, kNow)) {
    const auto& push = std::get<Push>(*request);
    ++sent.pushes;
    sent.entries += push.entries.size();
    sent.largest = std::max(sent.largest, BytesOf(push.entries));
    peer.Set(push.entries);
    pass.OnPushReply({push.pass});
  }
  CHECK(pass.done());
  CHECK(pass.sent() == sent.entries);
  return sent;
}

TEST_CASE("a legacy peer gets what it lacks or holds otherwise, and only that") {
  Cache cache;
  LegacyPeer peer;
  for (int i = 0; i < 5000; ++i) {
    const std::string key = "k" + std::to_string(i);
    cache.Merge(Put(key, 5, "value " + key), kNow);
    if (i % 10 != 0) peer.values[{1, key}] = "value " + key;
  }
  peer.values[{1, "k1"}] = "stale";
  peer.values[{1, "only there"}] = "left alone";
  CHECK(RunLegacyPass(cache, peer).entries == 501);
  CHECK(peer.values.size() == 5001);
  CHECK(peer.values[{1, "k1"}] == "value k1");
  CHECK(peer.values[{1, "k10"}] == "value k10");
  CHECK(peer.values[{1, "only there"}] == "left alone");
  CHECK(RunLegacyPass(cache, peer).entries == 0);
  CHECK_FALSE(cache.Find(1, "only there", kNow));
}

TEST_CASE("a legacy peer is told nothing that it cannot take") {
  Cache cache;
  LegacyPeer peer;
  peer.values[{1, "gone"}] = "old";
  cache.Merge(Gone("gone", 5), kNow);
  cache.Merge(Entry::Make(1, "expired", "v", {5, 1}, kNow), kNow - 1);
  cache.Merge(Put("bytes", 5, "\xff"), kNow);
  CHECK(RunLegacyPass(cache, peer).entries == 0);
}

TEST_CASE("large values go to a legacy peer in bounded parts, within a bucket too") {
  Cache cache;
  LegacyPeer peer;
  for (const std::string& key : KeysOfBucket(9, 10)) {
    cache.Merge(Put(key, 5, std::string(100'000, 'v')), kNow);
  }
  const Sent sent = RunLegacyPass(cache, peer);
  CHECK(sent.entries == 10);
  CHECK(peer.values.size() == 10);
  CHECK(sent.largest < LegacyPass::kBytesPerPush + 101'000);
}

TEST_CASE("entries that come and go meanwhile do not make a legacy pass miss others") {
  Cache cache;
  const std::vector<std::string> keys = KeysOfBucket(9, 30);
  for (std::size_t i = 0; i < keys.size(); i += 2) {
    cache.Merge(Put(keys[i], 5, std::string(100'000, 'v')), kNow);
  }
  LegacyPass pass(7);
  LegacyPeer peer;
  (void)pass.Next(cache, kNow);
  pass.OnFetchReply(peer.GetAll());
  std::size_t other = 1;
  while (std::optional<Message> request = pass.Next(cache, kNow)) {
    peer.Set(std::get<Push>(*request).entries);
    if (other < keys.size()) cache.Merge(Put(keys[other], 6), kNow);
    other += 2;
    pass.OnPushReply({7});
  }
  for (std::size_t i = 0; i < keys.size(); i += 2) CHECK(peer.values.count({1, keys[i]}) == 1);
}

TEST_CASE("a legacy pass heeds only the reply that it waits for") {
  Cache cache;
  cache.Merge(Put("k", 5), kNow);
  LegacyPass pass(7);
  pass.OnFetchReply({});
  pass.OnPushReply({7});
  REQUIRE(std::holds_alternative<Fetch>(*pass.Next(cache, kNow)));
  pass.OnPushReply({7});
  CHECK_FALSE(pass.HasNext());
  pass.OnFetchReply({});
  pass.OnPushReply({7});
  REQUIRE(std::holds_alternative<Push>(*pass.Next(cache, kNow)));
  LegacyPeer late;
  late.values[{1, "k"}] = "v";
  pass.OnFetchReply(late.GetAll());
  pass.OnPushReply({6});
  CHECK_FALSE(pass.HasNext());
  CHECK_FALSE(pass.done());
  CHECK(pass.remembered() == 0);
}

TEST_CASE("a legacy peer that sends too much costs bounded memory, and is still made equal") {
  Cache cache;
  cache.Merge(Put("k", 5, "ours"), kNow);
  FetchReply reply;
  // One entry over and over: what counts is how many are looked at.
  const EntryRef known = Entry::Make(1, "k", "ours", LegacyVersion("ours"));
  const EntryRef other = Entry::Make(1, "other", "v", LegacyVersion("v"));
  reply.entries.assign(LegacyPass::kMaxRemembered, other);
  reply.entries.push_back(known);
  LegacyPass pass(7);
  (void)pass.Next(cache, kNow);
  pass.OnFetchReply(reply);
  CHECK(pass.remembered() == 1);
  std::uint64_t sent = 0;
  while (std::optional<Message> request = pass.Next(cache, kNow)) {
    sent += std::get<Push>(*request).entries.size();
    pass.OnPushReply({7});
  }
  CHECK(sent == 1);  // it was beyond what is remembered
  CHECK(pass.done());
}

// What the node makes of a service whose GetAll does not fit into a message.
TEST_CASE("an old service that cannot give what it holds is named once, and keeps its stream") {
  TestNode node(OptionsOf(2));
  node.driver.SetPeers(SetOf({1}));
  const ConnId conn = node.DialledTo("uid-1");
  node.driver.Opened(conn);
  (void)node.Pull(conn);
  HelloReply hello;
  hello.legacy = true;
  hello.self.incarnation = 5;
  node.driver.Receive(conn, hello);
  FetchReply failed;
  failed.done = true;
  failed.failure = "GetAll: larger than 64 MiB";
  // As long as it may be a donor it is waited for, then the node goes on without.
  for (int i = 0; i < 600; ++i) {
    node.Run(100, 100);
    const std::vector<Message> sent = node.Pull(conn);
    if (Find<Heartbeat>(sent)) node.driver.Receive(conn, Heartbeat{});
    if (Find<Fetch>(sent)) node.driver.Receive(conn, failed);
  }
  CHECK(node.driver.ready());
  CHECK_FALSE(node.transport.closed.contains(conn));
  CHECK(node.driver.Peers().at(0).error == failed.failure);
  const auto told = std::count_if(node.events.begin(), node.events.end(), [](const Event& event) {
    return event.kind == EventKind::kGetAllFailed;
  });
  CHECK(told == 1);
}

TEST_CASE("an old service is read when it is met, and then once in a repair interval") {
  TestNode node(OptionsOf(1));
  node.StartAlone();
  FakePeer peer(2, node);
  peer.legacy = true;
  node.driver.SetPeers(SetOf({2}));
  const ConnId conn = peer.Open(node);
  std::size_t reads = 0;
  for (int i = 0; i < 250; ++i) {
    for (const Message& message : node.Pull(conn)) {
      if (std::holds_alternative<Fetch>(message)) ++reads;
      if (std::optional<Message> reply = peer.Answer(node, message)) {
        node.driver.Receive(conn, std::move(*reply));
      }
    }
    node.Run(100);
  }
  CHECK(reads == 3);  // within 25 s
}

}  // namespace
}  // namespace podmirror::sync
