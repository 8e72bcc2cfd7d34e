// The part of Node that answers for entries that have been merged: fragments, and verdicts on
// writes on a condition.
#include "sync/node.h"

namespace podmirror::sync {

void Node::FragmentTaken(Now now, ConnId conn, const Fragment& fragment,
                         const Assembly::Taken& taken) {
  if (Session* session = sessions_.Find(conn)) {
    FragmentReply reply{fragment.id, taken.next, taken.later, taken.dead, {}};
    if (fragment.base && taken.next == fragment.total && !taken.later) {
      reply.verdict = writes_.Judge(fragment.id, *fragment.base, taken.told, Listed(*session), now);
    }
    if (taken.broken || !sessions_.OnFragment(*session, reply)) {
      CloseSession(now, conn);
      return;
    }
    if (!session->stays && taken.entry) drain_.HandOver(now);
    self_.ready.wakes.push_back(conn);
    return;
  }
  Link* link = peers_.OfStream(conn);
  if (link == nullptr || !link->open() || !link->passes().pass()) return;
  if (repair_.OnFragment(*link, fragment, taken, now)) {
    if (link->peer().draining && taken.entry) drain_.HandOver(now);
    if (!self_.synced && taken.entry) joiner_.OnLarge(*taken.entry);
    peers_.Touch(*link);
  } else {
    Refuse(now, *link, RefusalReason::kProtocol, "it broke the protocol of large entries");
  }
  Settle(now);
}

void Node::JudgeBatch(Now now, Session& session, const Batch& batch, const Merged& merged) {
  const bool listed = !batch.bases.empty() && Listed(session);
  for (std::size_t i = 0; i < merged.told.size(); ++i) {
    const auto& [place, base] = batch.bases[i];
    const EntryId id{batch.entries[place]->key_hash(), batch.entries[place]->version()};
    Sessions::OnVerdict(session, place, writes_.Judge(id, base, merged.told[i], listed, now));
  }
}

bool Node::Listed(const Session& session) {
  const Link* link = peers_.To(session.peer);
  return link != nullptr && !link->record().terminating;
}

}  // namespace podmirror::sync
