#include "sync/node.h"

#include <algorithm>

namespace podmirror::sync {

Node::Node(NodeOptions options, Cache& cache, Assembly& assembly,
           std::function<std::uint64_t()> random, Now now)
    : self_(std::move(options), cache, std::move(random)),
      peers_(self_),
      sessions_(self_, peers_),
      clocks_(self_, peers_, now.wall),
      writes_(self_, peers_),
      repair_(self_, peers_, writes_, assembly),
      joiner_(self_, peers_, repair_, now),
      retention_(self_, peers_),
      drain_(self_, peers_, writes_),
      ticked_at_(now.steady) {}

// --- peers ---

void Node::SetPeers(Now now, const PeerSet& set) {
  if (!peers_.Learn(set)) return;
  for (Link* link : peers_.Unwanted()) Remove(now, *link);
  for (const PodRecord* record : peers_.Wanted()) {
    Link* link = peers_.Find(record->id());
    const bool was_peer = link != nullptr && !link->record().terminating;
    if (was_peer && record->terminating) LeftSet(now, *link);
    if (!was_peer && !record->terminating) {
      self_.Emit(EventKind::kPeerAdded, record->name, record->ip);
    }
    if (link != nullptr) {
      link->set_record(*record);
    } else {
      // A bound that is kept for one that left the set is not for a link that ends soon.
      const std::uint64_t bound =
          record->terminating ? self_.cache.purge_floor() : retention_.Listed(record->id());
      peers_.Add(*record, bound, now.steady);
    }
  }
  peers_.SortByAge();
  peers_.TouchAll();
  SettleJoin(now);
}

void Node::Remove(Now now, Link& link) {
  // A pass with who comes back under the same id counts anew.
  if (link.open()) drain_.HandOver(now);
  if (link.conn() != 0) self_.ready.closes.push_back(link.conn());
  repair_.Lost(link);
  joiner_.Lost(link);
  if (!link.record().terminating) LeftSet(now, link);
  writes_.Removed(link);
  peers_.Remove(link);
}

// It is no peer any more: gone, or it terminates, whether or not we keep the link.
void Node::LeftSet(Now now, const Link& link) {
  retention_.Left(link, now);
  self_.Emit(EventKind::kPeerRemoved, link.record().name);
}

// --- streams ---

void Node::Opened(Now now, ConnId conn) {
  Link* link = peers_.OfStream(conn);
  if (link == nullptr || link->connection().phase() != Connection::Phase::kDialling) {
    self_.ready.closes.push_back(conn);  // given up before the transport had opened it
    return;
  }
  link->connection().Opened(now.steady);
  self_.ready.wakes.push_back(conn);
}

void Node::Closed(Now now, ConnId conn, const podmirror::Status& status) {
  if (sessions_.Find(conn) != nullptr) {
    EndSession(now, conn);
  } else if (Link* link = peers_.OfStream(conn)) {
    if (status.code() == Code::kRefused) {
      Refuse(now, *link, RefusalReason::kUntrusted, status.message());
    } else {
      Drop(now, *link, status.code(), status.message());
    }
  }
  Settle(now);
}

void Node::CloseSession(Now now, ConnId conn) {
  EndSession(now, conn);
  self_.ready.closes.push_back(conn);
}

void Node::EndSession(Now now, ConnId conn) {
  const Session& session = *sessions_.Find(conn);
  const bool accepted = session.accepted;
  const Link* back = accepted ? peers_.To(session.peer) : nullptr;
  sessions_.End(conn);
  // As in Drop, for one that we have no link to.
  if (accepted && (back == nullptr || !back->open())) drain_.HandOver(now);
}

void Node::Drop(Now now, Link& link, Code code, const std::string& error) {
  const bool was_open = link.open();
  repair_.Lost(link);
  joiner_.Lost(link);
  peers_.Lost(link, code, error, now.steady);
  writes_.Lost(link);
  // It may have died, and we hold what it told nobody else.
  if (was_open) drain_.HandOver(now);
  const Connection& connection = link.connection();
  const bool quiet = connection.duplicate() || connection.refused();
  if (!quiet && (was_open || connection.failures() == 1)) {
    self_.Emit(EventKind::kPeerLost, link.record().name, error);
  }
  peers_.Touch(link);
}

void Node::Refuse(Now now, Link& link, RefusalReason reason, const std::string& detail) {
  self_.ready.closes.push_back(link.conn());
  if (reason == RefusalReason::kSelf) {
    link.connection().MarkDuplicate();
    writes_.Removed(link);
  } else {
    const bool news = link.connection().refusal() != reason;
    link.connection().Refuse(reason, detail);
    if (news) self_.Emit(EventKind::kPeerRefused, link.record().name, detail);
  }
  Drop(now, link, Code::kRefused, detail);
}

// --- as time passes ---

void Node::Tick(Now now) {
  joiner_.Waited(now.steady - ticked_at_);
  ticked_at_ = now.steady;
  clocks_.Step(sessions_.all(), now);
  for (const ConnId conn : sessions_.Silent(now)) CloseSession(now, conn);
  writes_.Step(now);
  peers_.TouchAll();
  SettleJoin(now);
  if (!retention_.Step(now)) return;
  BeatAll();
  Settle(now);
}

void Node::BeginDrain(Now now) {
  if (self_.draining) return;
  drain_.Begin(now);
  BeatAll();
  Settle(now);
}

// Does whatever is due on a link and wakes its stream if there is something to send.
void Node::StepLink(Now now, Link& link) {
  if (link.connection().DialDue(now.steady)) {
    peers_.Dial(link, now.steady);
    return;
  }
  if (link.connection().TimedOut(now.steady)) {
    self_.ready.closes.push_back(link.conn());
    Drop(now, link, Code::kDeadline,
         link.open() ? "nothing heard from it for 4.5 s" : "no answer within 2 s");
    return;
  }
  if (!link.open()) return;
  repair_.Step(link, now);
  if (HasNext(now, link)) self_.ready.wakes.push_back(link.conn());
}

// Steps what the event has touched. Only then the join may go on, too.
void Node::Settle(Now now) {
  if (peers_.touched()) SettleJoin(now);
}

void Node::SettleJoin(Now now) {
  // After a stop, links may seem open whose peers fell silent: the next tick looks at all first.
  const bool stopped = now.steady - ticked_at_ > kLongestStepMs;
  bool joined = false;
  do {
    while (Link* link = peers_.TakeTouched()) StepLink(now, *link);
    joined = !stopped && joiner_.Step(now);
    if (joined) {
      writes_.Begin(now);
      for (Link* link : peers_.Unwanted()) Remove(now, *link);  // those that terminate
      BeatAll();  // joiners wait for one who is synced
    }
  } while (joined);
}

// The next that all peers get is a heartbeat.
void Node::BeatAll() {
  for (Link* link : peers_.by_age()) link->HeartbeatNow();
  peers_.TouchAll();
}

// --- what is to be seen ---

NodeStatus Node::Status(Now now) const {
  const bool ending = self_.leaving || self_.draining;
  NodeStatus status;
  // A copy that was never complete must not be read, not even while draining.
  status.state = !self_.synced ? NodeState::kBootstrapping
                 : ending      ? NodeState::kDraining
                               : NodeState::kReady;
  status.ready = ready();
  status.reason = ending ? "draining" : joiner_.reason();
  status.incarnation = self_.incarnation;
  status.bootstrap = joiner_.Report(now);
  status.hlc = self_.hlc.Current(now.wall);
  status.backlog_bytes = writes_.backlog().bytes();
  return status;
}

std::vector<PeerStatus> Node::Peers(Now now) const {
  const Backlog& backlog = writes_.backlog();
  std::vector<PeerStatus> peers;
  for (const Link* link : peers_.by_age()) {
    if (link->duplicate() || link->record().terminating) continue;
    const Run& run = link->run();
    PeerStatus status;
    status.record = link->record();
    status.legacy = link->legacy();
    status.state = link->connection().refused() ? LinkState::kRefused
                   : !link->open()              ? LinkState::kConnecting
                   : link->legacy()             ? LinkState::kLegacy
                   : run.broken()               ? LinkState::kRepairing
                                                : LinkState::kStreaming;
    status.acked_seq = run.held();
    const Run::Behind behind = run.behind(backlog);
    status.behind_entries = behind.entries;
    status.behind_bytes = behind.bytes;
    if (status.behind_entries > 0) {
      const std::uint64_t next = std::max(status.acked_seq + 1, backlog.first());
      const WallMs oldest = WallOf(backlog.at(next)->version().hlc);
      status.lag_ms = std::max<std::int64_t>(0, now.wall - oldest);
    }
    if (const auto clock = link->peer().clock.At(now.steady)) {
      status.clock_ahead_ms = *clock - now.wall;
    }
    status.last_ack_ms_ago = run.last_ack_at() < 0 ? -1 : now.steady - run.last_ack_at();
    status.error = link->connection().error();
    peers.push_back(std::move(status));
  }
  return peers;
}

}  // namespace podmirror::sync
