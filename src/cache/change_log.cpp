#include "cache/change_log.h"

#include <utility>

namespace podmirror {
namespace {

std::uint64_t BytesOf(const Change& change) {
  return sizeof(Change) + change.entry->memory_bytes();
}

}  // namespace

void ChangeLog::Append(EntryRef entry, bool expired) {
  absl::MutexLock lock(&mu_);
  changes_.push_back({std::move(entry), expired});
  bytes_ += BytesOf(changes_.back());
  if (bytes_ > limit_bytes_) over_.store(true, std::memory_order_relaxed);
  last_.fetch_add(1);
}

void ChangeLog::Break() {
  std::deque<Change> forgotten;  // freed without the lock
  absl::MutexLock lock(&mu_);
  forgotten.swap(changes_);
  bytes_ = 0;
  last_.fetch_add(1);
}

void ChangeLog::Notify() {
  if (over_.load(std::memory_order_relaxed)) {
    std::vector<Change> forgotten;  // freed without the lock
    absl::MutexLock lock(&mu_);
    while (bytes_ > limit_bytes_ && changes_.size() > 1) {
      bytes_ -= BytesOf(changes_.front());
      forgotten.push_back(std::move(changes_.front()));
      changes_.pop_front();
    }
    over_.store(false, std::memory_order_relaxed);
  }
  for (const auto& listener : listeners_) listener();
}

bool ChangeLog::Read(std::uint64_t after, std::size_t max_bytes, std::vector<Change>& out) const {
  absl::MutexLock lock(&mu_);
  const std::uint64_t last = last_.load(std::memory_order_relaxed);
  if (after > last || after + 1 < first()) return false;
  std::size_t bytes = 0;
  for (std::uint64_t at = after + 1; at <= last; ++at) {
    const Change& change = changes_[at - first()];
    bytes += change.entry->memory_bytes();
    if (bytes > max_bytes && at != after + 1) break;
    out.push_back(change);
  }
  return true;
}

}  // namespace podmirror
