// The part of Node that answers peers on the streams that they opened.
#include <algorithm>
#include <utility>

#include "sync/node.h"

namespace podmirror::sync {

ConnId Node::Accept(Now now) {
  const ConnId conn = next_conn_++;
  Session& session = sessions_[conn];
  session.opened_at = session.heard_at = now.steady;
  return conn;
}

// What the peer wrote meanwhile may be missing here until a pass with it.
void Node::EndSession(ConnId conn) {
  const auto found = sessions_.find(conn);
  Link* link = found->second.accepted ? LinkTo(found->second.peer) : nullptr;
  sessions_.erase(found);
  if (link != nullptr) link->SpoilCheck();
}

void Node::OnSessionMessage(Now now, ConnId conn, Session& session, const Message& message,
                            const std::vector<std::uint32_t>& dead) {
  if (const auto* hello = std::get_if<Hello>(&message)) {
    OnHello(now, conn, session, *hello);
    return;
  }
  bool fine = session.accepted && session.answers_due.size() < kMaxQuestions;
  if (fine) {
    if (const auto* batch = std::get_if<Batch>(&message)) {
      fine = OnBatch(session, *batch, dead);
    } else if (const auto* heartbeat = std::get_if<Heartbeat>(&message)) {
      fine = Hlc::Plausible(heartbeat->hlc, heartbeat->purge_floor, now.wall);
      if (fine) OnPeersHeartbeat(now, session, *heartbeat);
    } else if (const auto* sums = std::get_if<SumsRequest>(&message)) {
      session.answers_due.push_back(*sums);
    } else if (const auto* offer = std::get_if<Offer>(&message)) {
      session.answers_due.push_back(*offer);
    } else if (const auto* fetch = std::get_if<Fetch>(&message)) {
      session.answers_due.push_back(*fetch);
    } else if (const auto* request = std::get_if<FragmentRequest>(&message)) {
      session.answers_due.push_back(*request);
    } else if (const auto* push = std::get_if<Push>(&message)) {
      session.answers_due.push_back(PushReply{push->pass});
    } else {
      fine = false;
    }
  }
  if (fine) {
    ready_.wakes.push_back(conn);
  } else {
    EndSession(conn);
    ready_.closes.push_back(conn);
  }
}

bool Node::OnBatch(Session& session, const Batch& batch, const std::vector<std::uint32_t>& dead) {
  // Its run was restarted: what lies between came by no batch.
  Link* link = LinkTo(session.peer);
  if (link != nullptr && session.next_seq != 0 && batch.first_seq > session.next_seq) {
    link->SpoilCheck();
  }
  session.next_seq = batch.last_seq + 1;
  session.ack_due = Ack{batch.last_seq, dead};
  return true;
}

void Node::OnPeersHeartbeat(Now now, Session& session, const Heartbeat& heartbeat) {
  hlc_.Observe(heartbeat.hlc);
  session.peer_floor = heartbeat.purge_floor;
  session.stays = !heartbeat.draining;
  session.heartbeat_due = true;
  TellClock(now, session, heartbeat.wall);
  Link* link = LinkTo(session.peer);
  const std::uint64_t run_before = std::exchange(session.run_start, heartbeat.run_start);
  if (link == nullptr || link->incarnation() != session.peer.incarnation) return;
  if (run_before != 0 && run_before != heartbeat.run_start) link->SpoilCheck();
  link->OnPeersHeartbeat(heartbeat);
  RaiseFloor(now, heartbeat.purge_floor);
  StepLink(now, *link);
  StepJoin(now);
}

Node::Outgoing Node::NextForSession(Now now, Session& session) {
  if (session.hello_reply) {
    Message reply = *std::exchange(session.hello_reply, std::nullopt);
    return reply;
  }
  if (session.ack_due) return Message(*std::exchange(session.ack_due, std::nullopt));
  if (std::exchange(session.heartbeat_due, false)) {
    const Link* link = LinkTo(session.peer);
    const bool link_open =
        link != nullptr && link->open() && link->incarnation() == session.peer.incarnation;
    return Message(BeatOf(now, link_open));
  }
  if (session.answers_due.empty()) return {};
  auto request = std::move(session.answers_due.front());
  session.answers_due.pop_front();
  if (const auto* pushed = std::get_if<PushReply>(&request)) return Message(*pushed);
  if (const auto* taken = std::get_if<FragmentReply>(&request)) return Message(*taken);
  Question question;
  question.asker = {session.peer_floor, (session.peer.features & kFragmentsFeature) != 0};
  if (const auto* sums = std::get_if<SumsRequest>(&request)) question.request = *sums;
  if (auto* offer = std::get_if<Offer>(&request)) question.request = std::move(*offer);
  if (const auto* part = std::get_if<FragmentRequest>(&request)) question.request = *part;
  if (const auto* fetch = std::get_if<Fetch>(&request)) {
    const auto joiners = std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& other) {
      return &other.second != &session && now.steady - other.second.fetched_at < kJoinerMs;
    });
    if (!synced_ || static_cast<std::size_t>(joiners) >= kMaxJoiners) {
      FetchReply busy;
      busy.busy = true;
      return Message(std::move(busy));
    }
    session.fetched_at = now.steady;
    question.request = *fetch;
  }
  return question;
}

}  // namespace podmirror::sync
