#include "sync/transfer.h"

#include <algorithm>

namespace podmirror::sync {

Fragment Cut(const Slice& slice) {
  Fragment fragment;
  fragment.id = {slice.entry->key_hash(), slice.entry->version()};
  fragment.total = slice.entry->packed_size();
  fragment.offset = slice.offset;
  fragment.bytes = slice.entry->Packed(slice.offset, slice.size);
  fragment.write = slice.write;
  fragment.base = slice.base;
  return fragment;
}

EntryRef FindVersion(const Cache& cache, const EntryId& id) {
  EntryRef found;
  for (EntryRef& entry : cache.Bucket(BucketOf(id.key_hash))) {
    if (entry->key_hash() != id.key_hash || entry->version() < id.version) continue;
    if (!found || entry->version() < found->version()) found = std::move(entry);
  }
  return found;
}

void Transfer::Begin(EntryRef entry, bool write) {
  End();
  id_ = {entry->key_hash(), entry->version()};
  entry_ = std::move(entry);
  write_ = write;
}

Slice Transfer::Next() {
  unanswered_ = true;
  const std::uint64_t left = entry_->packed_size() - offset_;
  return {entry_, offset_, probe_ ? 0 : std::min<std::uint64_t>(left, kFragmentBytes), write_};
}

Transfer::Step Transfer::OnReply(const FragmentReply& reply, SteadyMs now) {
  if (!unanswered_ || reply.id != id_) return Step::kIgnored;
  unanswered_ = false;
  const std::uint64_t total = entry_->packed_size();
  if (reply.next > total || (reply.later && reply.next == total)) return Step::kBroken;
  if (reply.next == total) return Step::kDone;
  // Where an answer brings no progress, sending the same again at once would be for nothing.
  const bool progress = !reply.later && (reply.next > offset_ || probe_);
  if (!progress) due_at_ = now + kLaterMs;
  probe_ = reply.later;
  offset_ = reply.next;
  return Step::kGoesOn;
}

}  // namespace podmirror::sync
