#include "sync/backlog.h"

#include <algorithm>

namespace podmirror::sync {

std::uint64_t Backlog::Append(EntryRef entry, std::vector<EntryRef>& dropped,
                              const std::optional<Base>& base) {
  if (++last_ % kMarkEvery == 0) marks_.push_back(appended_);
  entries_.push_back(std::move(entry));
  if (base) bases_.emplace_back(last_, *base);
  const std::uint64_t size = BytesOf(last_);
  bytes_ += size;
  appended_ += size;
  while (bytes_ > limit_bytes_ && entries_.size() > 1) {
    if (first() % kMarkEvery == 0) marks_.pop_front();
    bytes_ -= BytesOf(first());
    if (!bases_.empty() && bases_.front().first == first()) bases_.pop_front();
    dropped.push_back(std::move(entries_.front()));
    entries_.pop_front();
  }
  return last_;
}

std::optional<Base> Backlog::BaseOf(std::uint64_t seq) const {
  const auto found = std::lower_bound(
      bases_.begin(), bases_.end(), seq,
      [](const std::pair<std::uint64_t, Base>& base, std::uint64_t at) { return base.first < at; });
  if (found == bases_.end() || found->first != seq) return std::nullopt;
  return found->second;
}

std::uint64_t Backlog::BytesOf(std::uint64_t seq) const {
  return at(seq)->memory_bytes() + (BaseOf(seq) ? sizeof(bases_.front()) : 0);
}

std::uint64_t Backlog::BytesAfter(std::uint64_t seq) const {
  if (seq >= last_) return 0;
  if (seq < first()) return bytes_;
  // One by one as far as the next mark; what comes behind it is a difference.
  std::uint64_t bytes = 0;
  for (++seq; seq <= last_ && seq % kMarkEvery != 0; ++seq) bytes += BytesOf(seq);
  if (seq > last_) return bytes;
  const std::uint64_t first_mark = (first() + kMarkEvery - 1) / kMarkEvery;
  return bytes + appended_ - marks_[seq / kMarkEvery - first_mark];
}

}  // namespace podmirror::sync
