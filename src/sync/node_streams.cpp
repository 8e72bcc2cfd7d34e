// The part of Node that deals with streams: what arrives on them, and what goes out on our links.
#include <algorithm>

#include "sync/node.h"

namespace podmirror::sync {
namespace {

bool FromDialler(const Message& message) {
  return std::holds_alternative<Batch>(message) || std::holds_alternative<Push>(message);
}

}  // namespace

Link* Node::LinkOf(ConnId conn) {
  const auto found = link_by_conn_.find(conn);
  return found == link_by_conn_.end() ? nullptr : &links_.at(found->second);
}

// Our own link to a daemon that introduced itself, or null.
Link* Node::LinkTo(const Introduction& peer) {
  if (!peer.uid.empty()) {
    const auto found = links_.find(peer.uid);
    if (found != links_.end()) return &found->second;
  }
  for (Link* link : by_age_) {
    if (link->incarnation() == peer.incarnation && !link->duplicate()) return link;
  }
  return nullptr;
}

void Node::Opened(Now now, ConnId conn) {
  Link* link = LinkOf(conn);
  if (link == nullptr || link->phase() != Link::Phase::kDialling) {
    ready_.closes.push_back(conn);  // given up before the transport had opened it
    return;
  }
  link->Opened(now.steady);
  ready_.wakes.push_back(conn);
}

void Node::Closed(Now now, ConnId conn, const podmirror::Status& status) {
  if (const auto found = sessions_.find(conn); found != sessions_.end()) {
    const bool accepted = found->second.accepted;
    const Link* back = accepted ? LinkTo(found->second.peer) : nullptr;
    EndSession(conn);
    // As in DropLink, for one that we have no link to.
    if (draining_ && accepted && (back == nullptr || !back->open())) HandOver(now);
    return;
  }
  Link* link = LinkOf(conn);
  if (link == nullptr) return;
  DropLink(now, *link, status.code(), status.message());
}

void Node::DropLink(Now now, Link& link, Code code, const std::string& error) {
  const bool was_open = link.open();
  link_by_conn_.erase(link.conn());
  legacy_passes_.erase(link.id());
  TellDropped(link);
  link.Lost(code, error, now.steady, random_());
  if (bootstrap_.copy && bootstrap_.copy->donor == link.id()) bootstrap_.copy.reset();
  if (!link.reachable()) waiters_.Unreachable(link.id(), ready_.completions);
  // It may have died, and we hold what it told nobody else.
  if (draining_ && was_open) HandOver(now);
  if (!link.duplicate() && !link.refused() && (was_open || link.failures() == 1)) {
    Emit(EventKind::kPeerLost, link.record().name, error);
  }
  StepLink(now, link);
  StepJoin(now);
}

void Node::RefuseLink(Now now, Link& link, RefusalReason reason, const std::string& detail) {
  const bool news = link.refusal() != reason;
  const ConnId conn = link.conn();
  if (reason == RefusalReason::kSelf) {
    link.MarkDuplicate();
  } else {
    link.Refuse(reason, detail);
    if (news) Emit(EventKind::kPeerRefused, link.record().name, detail);
  }
  ready_.closes.push_back(conn);
  if (link.duplicate()) waiters_.Removed(link.id(), ready_.completions);
  DropLink(now, link, Code::kRefused, detail);
}

// --- what arrives ---

// What comes at or below this hlc and is missing here is dead: we have had everything up to our
// floor. None for a copy: a joiner takes what it is given. While a pass with a peer of a higher
// floor is under way, that counts as ours for all but the pass itself: what came behind its back
// would not be found out by it.
std::optional<std::uint64_t> Node::DeadFloor(const Message& message, const Link* from) const {
  if (std::holds_alternative<FetchReply>(message)) return std::nullopt;
  const auto* fragment = std::get_if<Fragment>(&message);
  const bool write = fragment != nullptr ? fragment->write : std::holds_alternative<Batch>(message);
  std::uint64_t floor = cache_.purge_floor();
  for (const Link* link : by_age_) {
    if (!link->pass() || (link == from && !write)) continue;
    floor = std::max(floor, link->pass()->peer_floor());
  }
  return floor;
}

Node::Admission Node::Admit(Now now, ConnId conn, const Message& message) {
  Link* link = LinkOf(conn);
  const auto found = sessions_.find(conn);
  Session* session = found == sessions_.end() ? nullptr : &found->second;
  if (link == nullptr && session == nullptr) {
    ready_.closes.push_back(conn);
    return {Admission::kRefused, {}};
  }
  if (link != nullptr) link->Heard(now.steady);
  if (session != nullptr) session->heard_at = now.steady;
  const std::vector<EntryRef>* entries = EntriesOf(message);
  const auto* fragment = std::get_if<Fragment>(&message);
  if (entries == nullptr && fragment == nullptr) return {Admission::kMessageOnly, {}};

  const bool allowed =
      session != nullptr
          ? session->accepted && (fragment != nullptr || FromDialler(message))
          : link->open() && (fragment == nullptr || !fragment->write) && !FromDialler(message);
  std::uint64_t hlc = fragment != nullptr ? fragment->id.version.hlc : 0;
  if (entries != nullptr) {
    for (const EntryRef& entry : *entries) hlc = std::max(hlc, entry->version().hlc);
  }
  const bool sane = Hlc::Acceptable(hlc, now.wall);
  if (!allowed || !sane) {
    if (link != nullptr) {
      RefuseLink(now, *link, sane ? RefusalReason::kProtocol : RefusalReason::kClockSkew,
                 sane ? "it broke the protocol" : "it sent a version more than 24 h ahead");
    } else {
      EndSession(conn);
      ready_.closes.push_back(conn);
    }
    return {Admission::kRefused, {}};
  }
  hlc_.Observe(hlc);
  const Link* from = link != nullptr ? link : LinkTo(session->peer);
  const Admission merge{Admission::kMerge, DeadFloor(message, from)};
  const auto* fetched = std::get_if<FetchReply>(&message);
  if (fetched == nullptr) return merge;
  // The next chunk is asked for before this one is merged: both sides work at the same time.
  std::optional<Copy>& copy = bootstrap_.copy;
  if (!copy || copy->donor != link->id() || !copy->in_flight || fetched->busy) {
    return {Admission::kMessageOnly, {}};
  }
  bootstrap_.position = fetched->next;
  if (fetched->done) {
    copy->finishing = true;
  } else {
    copy->in_flight = false;
    ready_.wakes.push_back(conn);
  }
  return merge;
}

void Node::Received(Now now, ConnId conn, const Message& message,
                    const std::vector<std::uint32_t>& dead) {
  Link* link = LinkOf(conn);
  const auto session = sessions_.find(conn);
  if (link == nullptr && session == sessions_.end()) return;
  // One that drains as well leaves to us what it brings, maybe behind the pass that we hand over
  // with.
  const bool stays = link != nullptr ? !link->draining() : session->second.stays;
  const std::vector<EntryRef>* entries = EntriesOf(message);
  if (draining_ && !stays && entries != nullptr && !entries->empty()) HandOver(now);
  if (link != nullptr) {
    OnLinkMessage(now, *link, message);
  } else {
    OnSessionMessage(now, conn, session->second, message, dead);
  }
}

// A write that the peer refused as dead stands here until a pass drops it: it is not there.
void Node::OnAck(Now now, Link& link, const Ack& ack) {
  const std::uint64_t before = link.acked();
  std::vector<std::uint64_t> dead;
  for (const std::uint32_t place : ack.dead) dead.push_back(link.NumberOf(place));
  if (!link.OnAck(ack.seq, now.steady)) return;
  for (const std::uint64_t number : dead) {
    waiters_.Refused(link.id(), number, ready_.completions);
  }
  CreditAcks(link, before + 1, link.acked());
}

void Node::OnLinkMessage(Now now, Link& link, const Message& message) {
  if (const auto* reply = std::get_if<HelloReply>(&message)) {
    if (link.phase() == Link::Phase::kHandshake) OnHelloReply(now, link, *reply);
    return;
  }
  if (!link.open()) return;
  if (const auto* ack = std::get_if<Ack>(&message)) {
    OnAck(now, link, *ack);
  } else if (const auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    if (!Hlc::Plausible(heartbeat->hlc, heartbeat->purge_floor, now.wall)) {
      RefuseLink(now, link, RefusalReason::kClockSkew,
                 "its clock is more than 24 h ahead of ours, or behind its own purge floor");
      return;
    }
    hlc_.Observe(heartbeat->hlc);
    link.OnHeartbeat(*heartbeat, now.steady);
    Agree(link.clock(), now);
    RaiseFloor(now, heartbeat->purge_floor);
  } else if (const auto* fetched = std::get_if<FetchReply>(&message)) {
    OnFetchReply(now, link, *fetched);
  } else if (const auto* taken = std::get_if<FragmentReply>(&message)) {
    OnFragmentReply(now, link, *taken);
    return;
  } else if (const auto legacy = legacy_passes_.find(link.id()); legacy != legacy_passes_.end()) {
    if (const auto* pushed = std::get_if<PushReply>(&message)) legacy->second.OnPushReply(*pushed);
  } else if (link.pass()) {
    link.PassProgress(now.steady);
    if (const auto* sums = std::get_if<Sums>(&message)) link.pass()->OnSums(*sums, cache_);
    if (const auto* reply = std::get_if<OfferReply>(&message)) {
      link.pass()->OnOfferReply(*reply, cache_, ExpiredBy(now));
    }
    if (const auto* pushed = std::get_if<PushReply>(&message)) link.pass()->OnPushReply(*pushed);
    if (link.pass()->broken()) {
      RefuseLink(now, link, RefusalReason::kProtocol, "it broke the protocol of repair");
      return;
    }
  }
  StepLink(now, link);
  StepJoin(now);
}

void Node::OnFetchReply(Now now, Link& link, const FetchReply& reply) {
  const std::string id = link.id();
  std::optional<Copy>& copy = bootstrap_.copy;
  if (copy && copy->donor == id) {
    if (!reply.failure.empty()) {
      bootstrap_.busy_until[id] = now.steady + kFetchStuckMs;
      copy.reset();
      Complain(link, reply.failure);
    } else if (reply.busy) {
      bootstrap_.busy_until[id] = now.steady + 100 + static_cast<std::int64_t>(random_() % 200);
      copy.reset();
    } else {
      bootstrap_.report.entries += reply.entries.size();
      for (const EntryRef& entry : reply.entries) {
        bootstrap_.report.bytes += entry->key().size() + entry->value().size();
      }
      if (reply.done && copy->finishing) EndCopy();
    }
    return;
  }
  const auto legacy = legacy_passes_.find(id);
  if (legacy == legacy_passes_.end()) return;
  Complain(link, reply.failure);
  if (reply.failure.empty()) {
    legacy->second.OnFetchReply(reply);
    return;
  }
  legacy_passes_.erase(legacy);
  link.AbandonPass(NextPassAt(now));
}

// Says it once, as long as it is the same.
void Node::Complain(Link& link, const std::string& failure) {
  if (link.error() == failure) return;
  link.set_complaint(failure);
  if (!failure.empty()) Emit(EventKind::kGetAllFailed, link.record().name, failure);
}

// --- what goes out ---

Node::Outgoing Node::Next(Now now, ConnId conn) {
  if (Link* link = LinkOf(conn); link != nullptr) return NextForLink(now, *link);
  const auto found = sessions_.find(conn);
  if (found == sessions_.end()) return {};
  return NextForSession(now, found->second);
}

Heartbeat Node::BeatOf(Now now, bool link_open) const {
  return {hlc_.Current(now.wall),
          Reached(now),
          Reach(now),
          cache_.purge_floor(),
          synced_,
          link_open,
          draining_,
          !set_.has_value(),
          now.wall};
}

bool Node::LinkHasNext(Now now, const Link& link) const {
  if (link.HelloDue()) return true;
  if (!link.open()) return false;
  return link.HeartbeatDue(now.steady) || LinkHasOther(now, link);
}

// Anything to send but a heartbeat.
bool Node::LinkHasOther(Now now, const Link& link) const {
  if (link.BatchDue(backlog_) || link.FragmentDue(now.steady)) return true;
  const std::optional<Copy>& copy = bootstrap_.copy;
  if (copy && copy->donor == link.id() && !copy->in_flight) return true;
  if (!link.legacy()) return PassHasNext(now, link);
  const auto legacy = legacy_passes_.find(link.id());
  return legacy != legacy_passes_.end() && legacy->second.HasNext();
}

Node::Outgoing Node::NextForLink(Now now, Link& link) {
  if (link.HelloDue()) {
    link.HelloSent();
    return Message(Hello{Introduce(now), link.record().uid});
  }
  if (!link.open()) return {};
  // On a slow stream one may be due whenever a message is gone: the rest has its turns, too.
  if (link.HeartbeatDue(now.steady) && !(link.heartbeat_last() && LinkHasOther(now, link))) {
    // A joiner waits for what heartbeats tell: whose link to it is open, who became synced.
    link.HeartbeatSent(now.steady + (synced_ ? kHeartbeatMs : kHeartbeatMs / 10));
    Heartbeat beat = BeatOf(now, false);
    beat.run_start = link.run_start();
    return Message(beat);
  }
  link.OtherSent();
  if (link.RestartIfBehind(backlog_)) StepLink(now, link);
  if (link.BatchDue(backlog_)) return Message(link.NextBatch(backlog_));
  std::optional<Copy>& copy = bootstrap_.copy;
  if (copy && copy->donor == link.id() && !copy->in_flight) {
    copy->in_flight = true;
    copy->asked_at = now.steady;
    return Message(Fetch{bootstrap_.position});
  }
  if (const auto legacy = legacy_passes_.find(link.id()); legacy != legacy_passes_.end()) {
    if (std::optional<Message> request = legacy->second.Next(cache_, now.wall)) {
      return std::move(*request);
    }
    return {};
  }
  for (int turn = 0; turn < 2; ++turn) {
    Outgoing next = link.TakeTurn() ? NextForPass(now, link) : NextFragment(now, link);
    if (!std::holds_alternative<std::monostate>(next)) return next;
  }
  return {};
}

}  // namespace podmirror::sync
