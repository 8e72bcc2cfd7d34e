#include "sync/backlog.h"

namespace podmirror::sync {

std::uint64_t Backlog::Append(EntryRef entry) {
  const std::uint64_t size = entry->memory_bytes();
  bytes_ += size;
  appended_ += size;
  slots_.push_back({std::move(entry), appended_});
  ++last_;
  while (bytes_ > limit_bytes_ && slots_.size() > 1) {
    bytes_ -= slots_.front().entry->memory_bytes();
    slots_.pop_front();
  }
  return last_;
}

std::uint64_t Backlog::BytesAfter(std::uint64_t seq) const {
  if (seq >= last_) return 0;
  if (seq < first()) return bytes_;
  return appended_ - slots_[seq - first()].end;
}

}  // namespace podmirror::sync
