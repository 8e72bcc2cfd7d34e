// Node is the sync core of one daemon: it knows the peers, carries our writes to them, answers
// theirs, joins, repairs and drains. It does no I/O: events come in as calls, effects go out as one
// Ready value, and entries that arrive are put together and merged into the cache by the Driver
// between Admit and Received.
// Thread safety: none; the Driver's mutex protects it. The cache is shared with readers.
// Invariants: (1) a write is in the cache before it is in the backlog, and its version is seen by
//                 the clock before it is visible.
//             (2) synced_ implies a verified copy, or that we were knowingly first.
//             (3) every stream that is open or being opened belongs to one link or one session.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "cache/cache.h"
#include "sync/assembly.h"
#include "sync/backlog.h"
#include "sync/hlc.h"
#include "sync/join.h"
#include "sync/legacy_pass.h"
#include "sync/link.h"
#include "sync/message.h"
#include "sync/node_options.h"
#include "sync/session.h"
#include "sync/types.h"
#include "sync/waiters.h"

namespace podmirror::sync {

// What the node wants done; carried out by the driver after unlocking.
struct Ready {
  struct DialRequest {
    ConnId conn = 0;
    PodRecord peer;
    bool legacy = false;
  };
  std::vector<DialRequest> dials;
  std::vector<ConnId> wakes;
  std::vector<ConnId> closes;
  Waiters::Completions completions;
  std::vector<Event> events;
  bool unknown_peer = false;  // somebody of our cluster said hello whom no record names
};

class Node {
 public:
  // random: uniform 64-bit numbers, for incarnations and jitter.
  Node(NodeOptions options, Cache& cache, const Assembly& assembly,
       std::function<std::uint64_t()> random, Now now);

  WriteRefusal Write(Now now, std::span<const WriteItem> items, const WriteOptions& options,
                     WriteDone done);
  WriteRefusal WriteLocal(Now now, std::span<const WriteItem> items);

  void SetPeers(Now now, const PeerSet& set);
  void DiscoveryFailed(const std::string& error);

  ConnId Accept(Now now);
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
  // dead: places in it of the entries that were not taken, as Cache::MergeAll tells them.
  void Received(Now now, ConnId conn, const Message& message,
                const std::vector<std::uint32_t>& dead);
  // Instead of Received for a fragment, once it has been put together with others. A complete entry
  // has been merged.
  void FragmentTaken(Now now, ConnId conn, const Fragment& fragment, const Assembly::Taken& taken);
  void Closed(Now now, ConnId conn, const podmirror::Status& status);

  // What is to be sent next on this stream: a message, a question to be answered from the cache, or
  // nothing.
  using Outgoing = std::variant<std::monostate, Message, Question>;
  Outgoing Next(Now now, ConnId conn);

  void Tick(Now now);
  void BeginDrain(Now now);
  bool Drained(Now now) const;
  // Answers every write that waits for peers, as far as it has come.
  void EndWaits();

  Ready TakeReady() { return std::exchange(ready_, {}); }

  bool serving() const { return synced_ && !draining_; }
  bool synced() const { return synced_; }
  // A moment that our clock and those of all peers have passed (clock.h): what ended before it has
  // expired for everybody. Never later than now.wall; up to one Tick old.
  WallMs ExpiredBy(Now now) const { return std::min(now.wall, agreed_); }
  NodeStatus Status(Now now) const;
  std::vector<PeerStatus> Peers(Now now) const;
  const Backlog& backlog() const { return backlog_; }
  const std::map<std::string, Link>& links() const { return links_; }

 private:
  struct Copy {  // valid while a donor is being copied from
    std::string donor;
    bool in_flight = false;
    bool finishing = false;  // the last chunk has come and is being merged
    SteadyMs asked_at = 0;
  };
  struct Bootstrap {
    SteadyMs since = 0;          // of this process
    std::int64_t waited_ms = 0;  // since a good set is known, without the time that we stood still
    Position position;           // where the copy goes on, whoever the donor
    std::optional<Copy> copy;
    bool copied = false;
    bool legacy_copied = false;
    BootstrapReport report;
    std::string reason;
    std::map<std::string, SteadyMs> busy_until;
  };

  // How far the floor might have gone at some time.
  struct Mark {
    SteadyMs at = 0;
    std::uint64_t hlc = 0;
  };

  // node.cpp: peers, writes, status
  std::uint64_t Grows(const WriteItem& item) const;
  WriteRefusal Refusal(std::span<const WriteItem> items) const;
  std::vector<EntryRef> Apply(Now now, std::span<const WriteItem> items);
  std::vector<Waiters::Peer> CountedPeers(std::span<const WriteItem> items) const;
  void AddLink(Now now, const PodRecord& record);
  void RemoveLink(Now now, std::map<std::string, Link>::iterator it);
  void SortLinks();

  // node_handshake.cpp: who may talk to us
  Introduction Introduce(Now now) const;
  RefusalReason Check(Now now, const Introduction& peer, std::string* detail) const;
  void OnHello(Now now, ConnId conn, Session& session, const Hello& hello);
  void OnHelloReply(Now now, Link& link, const HelloReply& reply);

  // node_streams.cpp: our links; node_sessions.cpp: the streams that peers opened
  Link* LinkOf(ConnId conn);
  Link* LinkTo(const Introduction& peer);
  void OnSessionMessage(Now now, ConnId conn, Session& session, const Message& message,
                        const std::vector<std::uint32_t>& dead);
  bool OnBatch(Session& session, const Batch& batch, const std::vector<std::uint32_t>& dead);
  void OnPeersHeartbeat(Now now, Session& session, const Heartbeat& heartbeat);
  void OnAck(Now now, Link& link, const Ack& ack);
  void EndSession(ConnId conn);
  void OnLinkMessage(Now now, Link& link, const Message& message);
  std::optional<std::uint64_t> DeadFloor(const Message& message, const Link* from) const;
  void OnFetchReply(Now now, Link& link, const FetchReply& reply);
  void Complain(Link& link, const std::string& failure);
  void RefuseLink(Now now, Link& link, RefusalReason reason, const std::string& detail);
  void DropLink(Now now, Link& link, Code code, const std::string& error);
  Heartbeat BeatOf(Now now, bool link_open) const;
  Outgoing NextForSession(Now now, Session& session);
  Outgoing NextForLink(Now now, Link& link);
  bool LinkHasNext(Now now, const Link& link) const;
  bool LinkHasOther(Now now, const Link& link) const;
  void CreditAcks(const Link& link, std::uint64_t first, std::uint64_t last);

  // node_clock.cpp: what has expired for everybody
  void StepClocks(Now now);
  void Agree(const PeerClock& clock, Now now);
  void TellClock(Now now, Session& session, WallMs wall);

  // node_fragments.cpp: large entries
  std::optional<EntryId> LargeWriteOf(const Link& link) const;
  bool PassHasNext(Now now, const Link& link) const;
  Outgoing NextForPass(Now now, Link& link);
  Outgoing NextFragment(Now now, Link& link);
  void OnFragmentReply(Now now, Link& link, const FragmentReply& reply);

  // node_floor.cpp: what may be forgotten
  std::vector<const Link*> HoldingLinks(Now now) const;
  std::uint64_t LowestOfDeparted() const;
  std::uint64_t Reached(Now now) const;
  std::uint64_t ReachOfLinks(Now now) const;
  std::uint64_t Reach(Now now) const;
  void AdvanceFloor(Now now);
  void TellFloorHeld(Now now);
  bool RaiseFloor(Now now, std::uint64_t floor);

  // node_upkeep.cpp: what happens as time passes
  void StepLink(Now now, Link& link);
  void StepPass(Now now, Link& link);
  bool MayBegin(const Link& link) const;
  void TellDropped(const Link& link);
  void BeginPass(Now now, Link& link);
  void StepLegacyPass(Now now, Link& link);
  SteadyMs NextPassAt(Now now);
  bool MayPass(const Link& link) const;
  void StepSessions(Now now);
  void StepJoin(Now now);
  void SpoilChecks();
  JoinView ViewForJoin(Now now) const;
  void BeginCopy(Now now, const std::string& donor);
  void EndCopy();
  void BecomeSynced(Now now);
  void HandOver(Now now);
  bool Elder(const Link& link) const;
  bool OldestSynced() const;
  void Emit(EventKind kind, std::string peer, std::string detail = {},
            std::vector<std::pair<std::string_view, std::uint64_t>> numbers = {});

  const NodeOptions options_;
  Cache& cache_;
  const Assembly& assembly_;
  const std::function<std::uint64_t()> random_;

  const Incarnation incarnation_;
  Hlc hlc_;
  Backlog backlog_;
  Waiters waiters_;
  std::map<std::string, Link> links_;                // by PodRecord::id
  std::vector<Link*> by_age_;                        // the same, oldest first
  std::map<ConnId, std::string> link_by_conn_;       // dialled streams
  std::map<ConnId, Session> sessions_;               // inbound streams
  std::map<std::string, LegacyPass> legacy_passes_;  // by link id, while one is under way
  // Pods that left the set less than tombstone-ttl ago hold the floor as if they were in it.
  struct Departed {
    std::uint64_t reach = 0;
    SteadyMs at = 0;
  };
  std::map<std::string, Departed> departed_;  // by PodRecord::id
  ConnId next_conn_ = 1;
  std::uint64_t next_pass_ = 1;

  bool synced_ = false;
  bool draining_ = false;
  std::uint64_t drain_hlc_ = 0;
  SteadyMs drain_at_ = 0;
  std::optional<PeerSet> set_;  // the last good answer
  bool listed_ = false;         // the last answer lists ourselves
  std::string discovery_error_ = "no answer from discovery yet";
  Bootstrap bootstrap_;
  SteadyMs ticked_at_ = 0;
  WallMs agreed_ = 0;          // see ExpiredBy
  SteadyMs floor_due_ = 0;     // when the purge floor is looked at next
  SteadyMs floor_at_ = 0;      // when it last advanced
  bool floor_held_ = false;    // somebody holds it for long, and that was said
  std::deque<Mark> reached_;   // the newest last; tombstone-ttl back, one each floor step
  std::uint64_t matured_ = 0;  // the newest that is older than tombstone-ttl
  Ready ready_;
};

}  // namespace podmirror::sync
