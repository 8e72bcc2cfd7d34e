// Peers that speak the protocol and do not do what they should: they hold up nobody but themselves.
#include <catch2/catch.hpp>

#include "sync/sync_testing.h"

namespace podmirror::sync {
namespace {

TEST_CASE("a peer that answers no pass does not keep the others from one") {
  TestNode node(OptionsOf(1));
  node.StartAlone();
  FakePeer stubborn(2, node);
  FakePeer other(3, node);
  // While a pass with a peer of a higher floor goes on, no other one may.
  stubborn.intro.purge_floor = HlcOf(kStartWall - 1000);
  stubborn.answers = false;
  other.cache.Merge(Entry::Make(1, "k", "v", {HlcOf(kStartWall - 10), 3}), kStartWall);
  node.driver.SetPeers(SetOf({2, 3}));
  const ConnId to_stubborn = stubborn.Open(node);
  const ConnId to_other = other.Open(node);
  for (int i = 0; i < 600 && !node.Has("k"); ++i) {
    stubborn.Serve(node, to_stubborn);
    other.Serve(node, to_other);
    node.Run(100);
  }
  CHECK(node.Has("k"));
}

TEST_CASE("a donor whose copy makes no progress is left for the next one") {
  TestNode node(OptionsOf(3));
  FakePeer stubborn(1, node);
  FakePeer other(2, node);
  other.cache.Merge(Entry::Make(1, "k", "v", {HlcOf(kStartWall - 10), 2}), kStartWall);
  node.driver.SetPeers(SetOf({1, 2}));
  const ConnId to_stubborn = stubborn.Open(node);
  const ConnId to_other = other.Open(node);
  const FetchReply same = [] {
    FetchReply reply;
    reply.next = {5, 0};
    return reply;
  }();
  int asked = 0;
  for (int i = 0; i < 100 && !node.Has("k"); ++i) {
    while (asked < 1000) {
      const std::optional<Message> message = node.driver.Next(to_stubborn);
      if (!message) break;
      if (!std::holds_alternative<Fetch>(*message)) continue;
      ++asked;
      node.driver.Receive(to_stubborn, same);
    }
    other.Serve(node, to_other);
    node.Run(100);
  }
  CHECK(node.Has("k"));
  CHECK(asked == 2);
}

TEST_CASE("fragments of what needs none are no protocol") {
  TestNode node(OptionsOf(1));
  node.StartAlone();
  const FakePeer peer(2, node);
  ConnId inbound = 0;
  peer.SayHello(node, &inbound);
  node.driver.Receive(inbound, Fragment{{1, {HlcOf(kStartWall), 2}}, 2, 0, "", true});
  CHECK(node.transport.closed.contains(inbound));
}

}  // namespace
}  // namespace podmirror::sync
