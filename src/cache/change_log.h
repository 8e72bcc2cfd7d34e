// ChangeLog is the ring of what a cache took lately: own writes, what peers brought, and what
// expired, numbered in the order in which the cache took it. Whoever wants to be told of changes is
// a place in it, and costs no memory of its own.
// Thread safety: all calls from any thread. The cache calls Append under the lock of a shard; no
// lock but the log's own is taken then, and nobody is called.
// Invariants: (1) it holds the changes first()..last(), numbered without gaps.
//             (2) changes of one key have the order in which the cache took them.
//             (3) after Notify, its entries take at most the limit, unless it holds one change.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cache/entry.h"

namespace podmirror {

struct Change {
  EntryRef entry;        // a tombstone: it is gone
  bool expired = false;  // nobody deleted it
};

class ChangeLog {
 public:
  explicit ChangeLog(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  ChangeLog(const ChangeLog&) = delete;
  ChangeLog& operator=(const ChangeLog&) = delete;

  // Calls `listener` after each change, or after some that came together, without a lock of ours.
  // Only before other threads use the log.
  void AddListener(std::function<void()> listener) { listeners_.push_back(std::move(listener)); }

  // The cache takes the entry. Requires: the lock of its key's shard is held.
  void Append(EntryRef entry, bool expired);
  // The cache has lost entries without a change that could be told: from now on no place before
  // last() is one to go on from.
  void Break();
  // Forgets the oldest changes over the limit, then calls the listeners. Without any lock.
  void Notify();

  // The number of the latest change; 1 before the first, so that 0 is never a place.
  std::uint64_t last() const { return last_.load(); }

  // Appends the changes behind the number `after` to `out`, oldest first, until they take
  // `max_bytes` together; at least one, if there is any. False when some of them are forgotten, or
  // `after` has not come yet: then nothing is appended.
  bool Read(std::uint64_t after, std::size_t max_bytes, std::vector<Change>& out) const;

 private:
  std::uint64_t first() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return last_.load(std::memory_order_relaxed) - changes_.size() + 1;
  }

  const std::uint64_t limit_bytes_;
  std::vector<std::function<void()>> listeners_;
  mutable absl::Mutex mu_;
  std::deque<Change> changes_ ABSL_GUARDED_BY(mu_);
  std::uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<bool> over_{false};  // bytes_ is over the limit
  // In one order with what listeners look at: who says that it listens, and then finds nothing new
  // here, is called for what comes.
  std::atomic<std::uint64_t> last_{1};
};

}  // namespace podmirror
