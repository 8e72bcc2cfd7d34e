// The part of Node that deals with large entries, which travel in fragments.
#include "sync/node.h"

namespace podmirror::sync {

// --- what arrives ---

void Node::FragmentTaken(Now now, ConnId conn, const Fragment& fragment,
                         const Assembly::Taken& taken) {
  if (const auto found = sessions_.find(conn); found != sessions_.end()) {
    Session& session = found->second;
    if (taken.broken || session.answers_due.size() >= kMaxQuestions) {
      EndSession(conn);
      ready_.closes.push_back(conn);
      return;
    }
    if (draining_ && !session.stays && taken.entry) HandOver(now);
    session.answers_due.push_back(FragmentReply{fragment.id, taken.next, taken.later, taken.dead});
    ready_.wakes.push_back(conn);
    return;
  }
  Link* link = LinkOf(conn);
  if (link == nullptr || !link->open() || !link->pass()) return;
  Pass& pass = *link->pass();
  LargeExchange* large = pass.large();
  if (taken.broken || (large != nullptr && !large->OnFragment(fragment, taken, now.steady))) {
    RefuseLink(now, *link, RefusalReason::kProtocol, "it broke the protocol of large entries");
    return;
  }
  pass.LargeUsed();
  link->PassProgress(now.steady);
  if (draining_ && link->draining() && taken.entry) HandOver(now);
  if (!synced_ && taken.entry) {
    ++bootstrap_.report.entries;
    bootstrap_.report.bytes += taken.entry->key().size() + taken.entry->value().size();
  }
  StepLink(now, *link);
  StepJoin(now);
}

void Node::OnFragmentReply(Now now, Link& link, const FragmentReply& reply) {
  Transfer::Step step = Transfer::Step::kIgnored;
  if (link.large().unanswered()) {
    const std::uint64_t seq = link.large().sending();
    const std::optional<EntryId> written = link.large().bringing();
    LargeExchange* large = link.pass() ? link.pass()->large() : nullptr;
    if (large != nullptr) link.PassProgress(now.steady);  // which may wait for this write
    step = link.large().OnReply(reply, now.steady);
    if (step == Transfer::Step::kDone) {
      if (large != nullptr && written) {
        large->Written(*written);
        link.pass()->LargeUsed();
      }
      if (reply.dead) waiters_.Refused(link.id(), seq, ready_.completions);
      CreditAcks(link, seq, link.acked());
    }
  } else if (link.pass() && link.pass()->large() != nullptr) {
    step = link.pass()->large()->OnReply(reply, now.steady);
    link.pass()->LargeUsed();
    link.PassProgress(now.steady);
  }
  if (step == Transfer::Step::kBroken) {
    RefuseLink(now, link, RefusalReason::kProtocol, "it broke the protocol of large entries");
    return;
  }
  StepLink(now, link);
  StepJoin(now);
}

// --- what goes out ---

// The large write that fragments bring to its end, unless the link is lost.
std::optional<EntryId> Node::LargeWriteOf(const Link& link) const {
  return link.large().FallenOut(backlog_) ? std::nullopt : link.large().bringing();
}

bool Node::PassHasNext(Now now, const Link& link) const {
  if (!link.pass()) return false;
  const LargeExchange* large = link.pass()->large();
  return large != nullptr ? large->HasNext(LargeWriteOf(link), now.steady) : link.pass()->HasNext();
}

Node::Outgoing Node::NextForPass(Now now, Link& link) {
  if (!link.pass()) return {};
  Pass& pass = *link.pass();
  const std::optional<EntryId> write = LargeWriteOf(link);
  if (LargeExchange* large = pass.large(); large != nullptr && large->HasNext(write, now.steady)) {
    // Whether it goes on or waits for others, who do.
    link.PassProgress(now.steady);
    LargeExchange::Outgoing next =
        large->Next(cache_, assembly_, link.conn(), write, !link.large().unanswered(), now.steady);
    pass.LargeUsed();
    if (auto* request = std::get_if<FragmentRequest>(&next)) return Message(*request);
    if (auto* slice = std::get_if<Slice>(&next)) return Question{std::move(*slice), {}};
  }
  if (std::optional<Message> request = pass.Next(cache_)) return std::move(*request);
  return {};
}

Node::Outgoing Node::NextFragment(Now now, Link& link) {
  // The run is about to restart, and the pass brings what has fallen out.
  if (!link.FragmentDue(now.steady) || link.large().FallenOut(backlog_)) return {};
  return Question{link.large().Next(backlog_), {}};
}

}  // namespace podmirror::sync
