// A Feed makes the parts that watchers with one filter and one format read, each part once for all
// of them. Feeds is all of them, and bounds what they cost together.
//
// A part tells the changes behind one number up to another. Watchers that keep up ask for the part
// behind the same number, and get the same part.
// Thread safety: all calls from any thread.
// Invariants: (1) a part tells every change of its numbers that the filter wants, in their order.
//             (2) the parts that exist, whoever still holds them, keep within the budget, unless
//                 there is one only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/byte_budget.h"
#include "base/env.h"
#include "cache/cache.h"
#include "cache/change_log.h"
#include "watch/event.h"
#include "watch/filter.h"

namespace podmirror::watch {

// What entries read from the log or the cache may take for one part, in memory. A larger entry is a
// part of its own; the state is read by whole buckets.
inline constexpr std::size_t kPartBytes = 16 * 1024;

// Encoded events. It is sent by many connections at a time.
class Part {
 public:
  Part(std::string bytes, ByteBudget& budget) : bytes_(std::move(bytes)), budget_(budget) {}
  ~Part() { budget_.Give(bytes_.size()); }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  const std::string& bytes() const { return bytes_; }

 private:
  const std::string bytes_;
  ByteBudget& budget_;  // has given the room for it
};
using PartRef = std::shared_ptr<const Part>;

class Feeds;

class Feed {
 public:
  Feed(Feeds& feeds, Filter filter, Encode encode);

  const Filter& filter() const { return filter_; }
  Feeds& feeds() const { return feeds_; }

  struct Step {
    enum class Kind : std::uint8_t {
      kGone,    // changes behind the place asked for are forgotten
      kNoRoom,  // the parts that others still read use up the budget: ask again later
      kMoved,   // all up to `to` is told by `part`, null when the filter wants nothing of it
    };
    Kind kind = Kind::kGone;
    std::uint64_t to = 0;
    PartRef part = nullptr;
  };
  // The changes behind the number `after`. Requires: it is below the log's last().
  Step After(std::uint64_t after, WallMs now);

  // A part of these events, for one watcher alone. Null when there is no room for it.
  PartRef Make(std::span<const Event> events, WallMs now) const;

  // Lets go of all parts that nobody reads. False when there was none.
  bool DropKept();

 private:
  struct Recent {
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    PartRef part;
    WallMs made = 0;
    std::size_t bytes() const { return part ? part->bytes().size() : 0; }
  };
  // What is kept for those that do not quite keep up: so many parts, and so many bytes unless it is
  // one part, and not for long: a part says what is left of a time to live.
  static constexpr std::size_t kKept = 64;
  static constexpr std::size_t kKeptBytes = 1024 * 1024;
  static constexpr std::int64_t kKeptMs = 1'000;

  PartRef TryMake(std::span<const Event> events, WallMs now) const;
  Step TryAfter(std::uint64_t after, WallMs now);
  void Keep(Recent recent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Feeds& feeds_;
  const Filter filter_;
  const Encode encode_;
  absl::Mutex mu_;
  std::deque<Recent> recent_ ABSL_GUARDED_BY(mu_);
  std::size_t recent_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of all in recent_
};

struct FeedsOptions {
  std::uint64_t incarnation = 0;  // of the daemon: tokens of others are not ours
  int max_watchers = 4096;
  std::size_t budget_bytes = 64 * 1024 * 1024;  // of parts that exist at a time
};

class Feeds {
 public:
  // Both must outlive this, and the cache must tell `changes`.
  Feeds(const Cache& cache, const ChangeLog& changes, FeedsOptions options);

  // The feed of this filter and format; each format has a name and one way to encode.
  std::shared_ptr<Feed> Get(Filter filter, const std::string& format, Encode encode);

  // Makes room for a part: no feed keeps one that nobody reads. False when none did.
  bool DropKept();

  // One watcher more, until it is given back. False when there are max_watchers.
  bool TakeWatcher();
  void GiveWatcher() { watchers_.fetch_sub(1, std::memory_order_relaxed); }
  int watchers() const { return watchers_.load(std::memory_order_relaxed); }

  const Cache& cache() const { return cache_; }
  const ChangeLog& changes() const { return changes_; }
  std::uint64_t incarnation() const { return options_.incarnation; }
  ByteBudget& budget() { return budget_; }

 private:
  using Key = std::tuple<std::string, std::vector<std::int32_t>, std::string, const void*>;

  const Cache& cache_;
  const ChangeLog& changes_;
  const FeedsOptions options_;
  std::atomic<int> watchers_{0};
  ByteBudget budget_;
  absl::Mutex mu_;
  std::map<Key, std::weak_ptr<Feed>> feeds_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::watch
