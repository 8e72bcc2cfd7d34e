#include "sync/backlog.h"

namespace podmirror::sync {

std::uint64_t Backlog::Append(EntryRef entry, std::vector<EntryRef>& dropped) {
  const std::uint64_t size = entry->memory_bytes();
  if (++last_ % kMarkEvery == 0) marks_.push_back(appended_);
  bytes_ += size;
  appended_ += size;
  entries_.push_back(std::move(entry));
  while (bytes_ > limit_bytes_ && entries_.size() > 1) {
    if (first() % kMarkEvery == 0) marks_.pop_front();
    bytes_ -= entries_.front()->memory_bytes();
    dropped.push_back(std::move(entries_.front()));
    entries_.pop_front();
  }
  return last_;
}

std::uint64_t Backlog::BytesAfter(std::uint64_t seq) const {
  if (seq >= last_) return 0;
  if (seq < first()) return bytes_;
  // One by one as far as the next mark; what comes behind it is a difference.
  std::uint64_t bytes = 0;
  for (++seq; seq <= last_ && seq % kMarkEvery != 0; ++seq) bytes += at(seq)->memory_bytes();
  if (seq > last_) return bytes;
  const std::uint64_t first_mark = (first() + kMarkEvery - 1) / kMarkEvery;
  return bytes + appended_ - marks_[seq / kMarkEvery - first_mark];
}

}  // namespace podmirror::sync
