#include "sync/sessions.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace podmirror::sync {

ConnId Sessions::Accept(Now now) {
  const ConnId conn = peers_.NextAccepted();
  Session& session = sessions_[conn];
  session.opened_at = session.heard_at = now.steady;
  return conn;
}

Session* Sessions::Find(ConnId conn) {
  if (Peers::IsDialled(conn)) return nullptr;
  const auto found = sessions_.find(conn);
  return found == sessions_.end() ? nullptr : &found->second;
}

void Sessions::End(ConnId conn) {
  const auto found = sessions_.find(conn);
  Link* link = found->second.accepted ? peers_.To(found->second.peer) : nullptr;
  sessions_.erase(found);
  if (link != nullptr) link->passes().SpoilCheck();
}

// --- what arrives ---

bool Sessions::OnMessage(Session& session, const Message& message, const Merged& merged) {
  if (!session.accepted || session.answers_due.size() >= kMaxQuestions) return false;
  if (const auto* batch = std::get_if<Batch>(&message)) {
    OnBatch(session, *batch, merged.dead);
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
    return false;
  }
  return true;
}

void Sessions::OnBatch(Session& session, const Batch& batch,
                       const std::vector<std::uint32_t>& dead) {
  // Its run was restarted: what lies between came by no batch.
  Link* link = peers_.To(session.peer);
  if (link != nullptr && session.next_seq != 0 && batch.first_seq > session.next_seq) {
    link->passes().SpoilCheck();
  }
  session.next_seq = batch.last_seq + 1;
  session.ack_due = Ack{batch.last_seq, dead, {}};
}

void Sessions::OnVerdict(Session& session, std::uint32_t place, const Verdict& verdict) {
  if (verdict.kind != Verdict::kUnknown) session.ack_due->verdicts.emplace_back(place, verdict);
}

bool Sessions::OnFragment(Session& session, const FragmentReply& reply) {
  if (session.answers_due.size() >= kMaxQuestions) return false;
  session.answers_due.push_back(reply);
  return true;
}

// --- what goes out ---

Outgoing Sessions::Next(Session& session, absl::FunctionRef<Heartbeat()> beat, Now now) {
  if (session.hello_reply) {
    Message reply = *std::exchange(session.hello_reply, std::nullopt);
    return reply;
  }
  if (session.ack_due) return Message(*std::exchange(session.ack_due, std::nullopt));
  if (std::exchange(session.heartbeat_due, false)) {
    Heartbeat heartbeat = beat();
    const Link* link = peers_.To(session.peer);
    heartbeat.link_open = link != nullptr && link->open() && link->Is(session.peer.incarnation);
    return Message(heartbeat);
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
    if (!self_.synced || Busy(session, now)) {
      FetchReply busy;
      busy.busy = true;
      return Message(std::move(busy));
    }
    session.fetched_at = now.steady;
    question.request = *fetch;
  }
  return question;
}

bool Sessions::Busy(const Session& session, Now now) const {
  const auto joiners = std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& other) {
    return &other.second != &session && now.steady - other.second.fetched_at < kJoinerMs;
  });
  return static_cast<std::size_t>(joiners) >= kMaxJoiners;
}

std::vector<ConnId> Sessions::Silent(Now now) const {
  std::vector<ConnId> silent;
  for (const auto& [conn, session] : sessions_) {
    const bool alive = session.accepted ? now.steady - session.heard_at <= kSilenceMs
                                        : now.steady - session.opened_at <= kSessionHelloMs;
    if (!alive) silent.push_back(conn);
  }
  return silent;
}

}  // namespace podmirror::sync
