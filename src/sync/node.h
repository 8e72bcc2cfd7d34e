// Node is the sync core of one daemon. It does no I/O: events come in as calls, effects go out as
// one Ready value, and entries that arrive are put together and merged into the cache by the Driver
// between Admit and Received.
// It only routes: each part owns its state, and an event goes to the parts that it concerns. They
// touch the links that may have something to do now; when the event is over, the node settles: it
// steps each of these links once, and the join.
// Thread safety: none; the Driver's mutex protects it. The cache is shared with readers.
// Invariant: every stream that is open or being opened belongs to one link or one session.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "cache/cache.h"
#include "sync/assembly.h"
#include "sync/clocks.h"
#include "sync/drain.h"
#include "sync/handshake.h"
#include "sync/joiner.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/repair.h"
#include "sync/retention.h"
#include "sync/self.h"
#include "sync/sessions.h"
#include "sync/types.h"
#include "sync/writes.h"

namespace podmirror::sync {

class Node {
 public:
  // random: uniform 64-bit numbers, for incarnations and jitter.
  Node(NodeOptions options, Cache& cache, Assembly& assembly, std::function<std::uint64_t()> random,
       Now now);
  Node(const Node&) = delete;  // its parts refer to each other
  Node& operator=(const Node&) = delete;

  // The writer of what is written here: for Drafts.
  Incarnation incarnation() const { return self_.incarnation; }
  WriteRefusal Write(Now now, Drafts& drafts, const WriteOptions& options, WriteDone done) {
    return writes_.Write(drafts, options, std::move(done), ExpiredBy(now), now);
  }
  WriteRefusal WriteLocal(Now now, Drafts& drafts) {
    return writes_.WriteLocal(drafts, ExpiredBy(now), now);
  }

  void SetPeers(Now now, const PeerSet& set);
  void DiscoveryFailed(const std::string& error) { peers_.Failed(error); }

  ConnId Accept(Now now) { return sessions_.Accept(now); }
  void Opened(Now now, ConnId conn);
  struct Admission {
    enum Kind { kRefused, kMessageOnly, kMerge };
    Kind kind = kRefused;
    std::optional<std::uint64_t> dead_floor;  // for Cache::MergeAll
  };
  // Must be called before every Received: may this message be taken, and are its entries to be
  // merged? Notes their greatest hlc. A refused one closes its stream; do not call Received then.
  Admission Admit(Now now, ConnId conn, const Message& message);
  // The message, its entries merged if they are to be.
  void Received(Now now, ConnId conn, const Message& message, const Merged& merged);
  // Instead of Received for a fragment, once it has been put together with others. A complete entry
  // has been merged.
  void FragmentTaken(Now now, ConnId conn, const Fragment& fragment, const Assembly::Taken& taken);
  void Closed(Now now, ConnId conn, const podmirror::Status& status);
  Outgoing Next(Now now, ConnId conn);

  void Tick(Now now);
  // Our credentials have changed: who was refused for his or for ours may be taken now.
  void CredentialsChanged() {
    for (Link* link : peers_.by_age()) link->connection().RetryNow();
  }
  void Leave() { drain_.Leave(); }
  void BeginDrain(Now now);
  bool drained() const { return drain_.Done(); }
  // Answers every write that waits for peers, as far as it has come.
  void EndWaits() { writes_.EndWaits(); }

  Ready TakeReady() { return std::exchange(self_.ready, {}); }

  // It has the data, and is not about to end.
  bool ready() const { return self_.synced && !self_.leaving && !self_.draining; }
  // A moment that our clock and those of all peers have passed (clocks.h): what ended before it has
  // expired for everybody. Never later than now.wall; up to one Tick old. 0 while we are not
  // synced: we have not heard the clocks of all peers yet, and serve nothing that would have to be
  // hidden.
  WallMs ExpiredBy(Now now) const { return self_.synced ? clocks_.Agreed(now) : 0; }
  NodeStatus Status(Now now) const;
  std::vector<PeerStatus> Peers(Now now) const;

 private:
  // node.cpp: the table of peers, time, streams
  void Remove(Now now, Link& link);
  void LeftSet(Now now, const Link& link);
  void Drop(Now now, Link& link, Code code, const std::string& error);
  // The stream of a session is gone.
  void EndSession(Now now, ConnId conn);
  // Its peer broke the protocol, or was silent for too long. The transport's Closed finds no
  // session.
  void CloseSession(Now now, ConnId conn);
  void Refuse(Now now, Link& link, RefusalReason reason, const std::string& detail);
  void StepLink(Now now, Link& link);
  void Settle(Now now);
  void SettleJoin(Now now);
  void BeatAll();

  // node_messages.cpp: what arrives and what goes out
  bool OnSessionMessage(Now now, Session& session, const Message& message, const Merged& merged);
  void JudgeBatch(Now now, Session& session, const Batch& batch, const Merged& merged);
  // Whether who opened this session is one of our peers.
  bool Listed(const Session& session);
  void OnHello(Now now, Session& session, const Hello& hello);
  bool OnPeersHeartbeat(Now now, Session& session, const Heartbeat& heartbeat);
  void OnLinkMessage(Now now, Link& link, const Message& message);
  void OnHelloReply(Now now, Link& link, const HelloReply& reply);
  void OnHeartbeat(Now now, Link& link, const Heartbeat& heartbeat);
  void OnFetchReply(Now now, Link& link, const FetchReply& reply);
  bool OnFragmentReply(Now now, Link& link, const FragmentReply& reply);
  bool HasNext(Now now, const Link& link) const;
  bool HasOther(Now now, const Link& link) const;
  Outgoing NextForLink(Now now, Link& link);

  Self self_;
  sync::Peers peers_;
  Sessions sessions_;
  Clocks clocks_;
  Writes writes_;
  Repair repair_;
  Joiner joiner_;
  Retention retention_;
  Drain drain_;
  SteadyMs ticked_at_;
};

}  // namespace podmirror::sync
