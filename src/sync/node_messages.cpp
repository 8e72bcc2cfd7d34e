// The part of Node that routes messages: what arrives on each stream, and what goes out next.
#include <algorithm>
#include <utility>

#include "sync/node.h"

namespace podmirror::sync {
namespace {

bool FromDialler(const Message& message) {
  return std::holds_alternative<Batch>(message) || std::holds_alternative<Push>(message);
}

// The greatest hlc of what a message brings; nothing when it brings no entries.
std::optional<std::uint64_t> HlcIn(const Message& message) {
  if (const auto* fragment = std::get_if<Fragment>(&message)) return fragment->id.version.hlc;
  const std::vector<EntryRef>* entries = EntriesOf(message);
  if (entries == nullptr) return std::nullopt;
  std::uint64_t hlc = 0;
  for (const EntryRef& entry : *entries) hlc = std::max(hlc, entry->version().hlc);
  return hlc;
}

}  // namespace

// --- what arrives ---

Node::Admission Node::Admit(Now now, ConnId conn, const Message& message) {
  Link* link = peers_.OfStream(conn);
  Session* session = sessions_.Find(conn);
  if (link == nullptr && session == nullptr) {
    self_.ready.closes.push_back(conn);
    return {Admission::kRefused, {}};
  }
  if (link != nullptr) link->connection().Heard(now.steady);
  if (session != nullptr) session->heard_at = now.steady;
  const std::optional<std::uint64_t> hlc = HlcIn(message);
  if (!hlc) return {Admission::kMessageOnly, {}};

  const auto* fragment = std::get_if<Fragment>(&message);
  const bool allowed =
      session != nullptr
          ? session->accepted && (fragment != nullptr || FromDialler(message))
          : link->open() && (fragment == nullptr || !fragment->write) && !FromDialler(message);
  const bool sane = Hlc::Acceptable(*hlc, now.wall);
  if (!allowed || !sane) {
    if (link != nullptr) {
      Refuse(now, *link, sane ? RefusalReason::kProtocol : RefusalReason::kClockSkew,
             sane ? "it broke the protocol" : "it sent a version more than 24 h ahead");
      Settle(now);
    } else {
      CloseSession(now, conn);
    }
    return {Admission::kRefused, {}};
  }
  self_.hlc.Observe(*hlc);
  if (const auto* chunk = std::get_if<FetchReply>(&message)) {
    if (!joiner_.Admit(*link, *chunk, now)) return {Admission::kMessageOnly, {}};
  }
  self_.took = self_.took || session != nullptr;
  const Link* from = link != nullptr ? link : peers_.To(session->peer);
  return {Admission::kMerge, repair_.DeadFloor(message, from)};
}

void Node::Received(Now now, ConnId conn, const Message& message, const Merged& merged) {
  Link* link = peers_.OfStream(conn);
  Session* session = sessions_.Find(conn);
  if (link == nullptr && session == nullptr) return;
  // One that drains as well leaves to us what it brings, maybe behind the pass of our hand-over.
  const bool stays = link != nullptr ? !link->peer().draining : session->stays;
  const std::vector<EntryRef>* entries = EntriesOf(message);
  if (!stays && entries != nullptr && !entries->empty()) drain_.HandOver(now);
  if (link != nullptr) {
    OnLinkMessage(now, *link, message);
  } else if (OnSessionMessage(now, *session, message, merged)) {
    self_.ready.wakes.push_back(conn);
  } else {
    CloseSession(now, conn);
  }
  Settle(now);
}

// --- on streams that peers opened ---

bool Node::OnSessionMessage(Now now, Session& session, const Message& message,
                            const Merged& merged) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    OnHello(now, session, *hello);
    return true;
  }
  if (const auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    return OnPeersHeartbeat(now, session, *heartbeat);
  }
  if (!sessions_.OnMessage(session, message, merged)) return false;
  if (const auto* batch = std::get_if<Batch>(&message)) JudgeBatch(now, session, *batch, merged);
  return true;
}

void Node::OnHello(Now now, Session& session, const Hello& hello) {
  HelloReply reply;
  Refusal refusal = CheckHello(self_, hello, now);
  reply.refusal = refusal.reason;
  reply.detail = std::move(refusal.detail);
  reply.self = Introduce(self_, now);
  if (reply.refusal == RefusalReason::kNone) {
    self_.hlc.Observe(hello.self.hlc);
    session.accepted = true;
    session.peer = hello.self;
    session.peer_floor = hello.self.purge_floor;
    clocks_.Told(session, hello.self.wall, now);
    if (Link* link = peers_.To(hello.self)) {
      link->passes().SpoilCheck();  // until now its writes had no way to us
      if (link->open() && !link->Is(hello.self.incarnation)) {
        self_.ready.closes.push_back(link->conn());
        Drop(now, *link, Code::kUnavailable, "it has been started anew");
      }
      reply.link_open = link->open();
      link->connection().RetryNow();
      peers_.Touch(*link);
    } else {
      self_.ready.unknown_peer = peers_.known();
    }
  }
  session.hello_reply = std::move(reply);
}

bool Node::OnPeersHeartbeat(Now now, Session& session, const Heartbeat& heartbeat) {
  const bool fine = session.accepted && session.answers_due.size() < kMaxQuestions &&
                    Hlc::Plausible(heartbeat.hlc, heartbeat.purge_floor, now.wall);
  if (!fine) return false;
  self_.hlc.Observe(heartbeat.hlc);
  session.peer_floor = heartbeat.purge_floor;
  session.stays = !heartbeat.draining;
  session.heartbeat_due = true;
  clocks_.Told(session, heartbeat.wall, now);
  const std::uint64_t run_before = std::exchange(session.run_start, heartbeat.run_start);
  Link* link = peers_.To(session.peer);
  if (link == nullptr || !link->Is(session.peer.incarnation)) return true;
  if (run_before != 0 && run_before != heartbeat.run_start) link->passes().SpoilCheck();
  link->peer().OnHeartbeat(heartbeat);
  retention_.Raise(heartbeat.purge_floor, now);
  peers_.Touch(*link);
  return true;
}

// --- on streams that we dialled ---

void Node::OnLinkMessage(Now now, Link& link, const Message& message) {
  if (const auto* reply = std::get_if<HelloReply>(&message)) {
    if (link.connection().phase() == Connection::Phase::kHandshake) {
      OnHelloReply(now, link, *reply);
    }
    return;
  }
  if (!link.open()) return;
  peers_.Touch(link);
  if (const auto* ack = std::get_if<Ack>(&message)) {
    writes_.OnAck(link, *ack, now);
  } else if (const auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    OnHeartbeat(now, link, *heartbeat);
  } else if (const auto* chunk = std::get_if<FetchReply>(&message)) {
    OnFetchReply(now, link, *chunk);
  } else if (const auto* taken = std::get_if<FragmentReply>(&message)) {
    if (!OnFragmentReply(now, link, *taken)) {
      Refuse(now, link, RefusalReason::kProtocol, "it broke the protocol of large entries");
    }
  } else if (!repair_.OnMessage(link, message, ExpiredBy(now), now)) {
    Refuse(now, link, RefusalReason::kProtocol, "it broke the protocol of repair");
  }
}

bool Node::OnFragmentReply(Now now, Link& link, const FragmentReply& reply) {
  const LargeWrites& large = link.run().large();
  const std::optional<EntryId> write = large.bringing();
  if (!write || !large.unanswered()) return repair_.OnFragmentReply(link, reply, now);
  const bool fine = writes_.OnFragmentReply(link, reply, now);
  repair_.OnWriteFragment(link, *write, now);
  return fine;
}

void Node::OnHelloReply(Now now, Link& link, const HelloReply& reply) {
  const Refusal refusal = CheckReply(self_, peers_, link, reply, now);
  if (refusal.reason != RefusalReason::kNone) {
    Refuse(now, link, refusal.reason, refusal.detail);
    return;
  }
  self_.hlc.Observe(reply.self.hlc);
  link.Accept(reply, writes_.backlog(), now.steady);
  if (reply.legacy) writes_.Legacy(link);
  clocks_.Agree(link.peer().clock, now);
  self_.Emit(EventKind::kPeerConnected, link.record().name,
             reply.legacy ? "hellorpc" : "podmirror.v1");
  peers_.Touch(link);
}

void Node::OnHeartbeat(Now now, Link& link, const Heartbeat& heartbeat) {
  if (!Hlc::Plausible(heartbeat.hlc, heartbeat.purge_floor, now.wall)) {
    Refuse(now, link, RefusalReason::kClockSkew,
           "its clock is more than 24 h ahead of ours, or behind its own purge floor");
    return;
  }
  self_.hlc.Observe(heartbeat.hlc);
  link.OnHeartbeat(heartbeat, now.steady);
  clocks_.Agree(link.peer().clock, now);
  retention_.Raise(heartbeat.purge_floor, now);
}

void Node::OnFetchReply(Now now, Link& link, const FetchReply& reply) {
  const bool of_copy = joiner_.OnChunk(link, reply, now);
  if (!of_copy && !link.passes().legacy()) return;
  // Said once, as long as it is the same.
  if (link.connection().error() != reply.failure) {
    link.connection().set_complaint(reply.failure);
    if (!reply.failure.empty()) {
      self_.Emit(EventKind::kGetAllFailed, link.record().name, reply.failure);
    }
  }
  if (!of_copy) repair_.OnLegacyCopy(link, reply, now);
}

// --- what goes out ---

Outgoing Node::Next(Now now, ConnId conn) {
  Outgoing next;
  if (Link* link = peers_.OfStream(conn)) {
    next = NextForLink(now, *link);
    Settle(now);
  } else if (Session* session = sessions_.Find(conn)) {
    next = sessions_.Next(
        *session, [&] { return Beat(self_, peers_, retention_, now); }, now);
  }
  return next;
}

bool Node::HasNext(Now now, const Link& link) const {
  if (link.connection().HelloDue()) return true;
  return link.open() && (link.HeartbeatDue(now.steady) || HasOther(now, link));
}

// Anything to send but a heartbeat.
bool Node::HasOther(Now now, const Link& link) const {
  return link.BatchDue(writes_.backlog()) || link.FragmentDue(now.steady) ||
         joiner_.HasNext(link) || repair_.HasNext(link, now);
}

Outgoing Node::NextForLink(Now now, Link& link) {
  if (link.connection().HelloDue()) {
    link.connection().HelloSent();
    return Message(Hello{Introduce(self_, now), link.record().uid});
  }
  if (!link.open()) return {};
  // On a slow stream one may be due whenever a message is gone: the rest has its turns, too.
  if (link.HeartbeatDue(now.steady) && !(link.heartbeat_last() && HasOther(now, link))) {
    // A joiner waits for what heartbeats tell: whose link to it is open, who became synced.
    link.HeartbeatSent(now.steady + (self_.synced ? kHeartbeatMs : kHeartbeatMs / 10));
    Heartbeat beat = Beat(self_, peers_, retention_, now);
    beat.run_start = link.run().start();
    return Message(beat);
  }
  link.OtherSent();
  const Backlog& backlog = writes_.backlog();
  if (link.RestartIfDue(backlog)) StepLink(now, link);  // the pass begins with this message
  if (link.BatchDue(backlog)) return Message(link.run().NextBatch(backlog));
  if (joiner_.HasNext(link)) return Message(joiner_.Next(now));
  for (int turn = 0; turn < 2; ++turn) {
    if (link.TakeTurn()) {
      Outgoing next = repair_.Next(link, now);
      if (!std::holds_alternative<std::monostate>(next)) return next;
    } else if (link.FragmentDue(now.steady) && !link.run().large().FallenOut(backlog)) {
      // What has fallen out, the pass brings: the run is about to restart.
      return Question{link.run().large().Next(backlog), {}};
    }
  }
  return {};
}

}  // namespace podmirror::sync
