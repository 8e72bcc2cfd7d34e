// Assembly puts large entries together from their fragments. What has come of one is kept when its
// stream is lost: whoever brings the entry next, on whatever stream, goes on from there.
// Thread safety: all calls from any thread; its lock is held for no longer than the copy of one
// fragment takes.
// Invariants: (1) the entries under way have at most kMaxBytes together.
//             (2) one stream at a time brings an entry: what others send of it would be for
//                 nothing, so they are told to try later.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "cache/cache.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::sync {

class Assembly {
 public:
  static constexpr std::uint64_t kMaxBytes = 128 * 1024 * 1024;
  // Nobody went on with it for so long: it is forgotten, or makes room when that is needed. Never
  // sooner, or two that do not fit together would push each other out for ever.
  static constexpr std::int64_t kKeptMs = 600'000;
  static constexpr std::int64_t kSafeMs = 30'000;

  struct Taken {
    std::uint64_t next = 0;  // so far it is there
    bool later = false;      // nothing was taken: there is no room, or another stream brings it
    EntryRef entry{};        // set when it is complete; it is not kept here any more
    bool broken = false;     // complete, and not the entry that it was said to be
    bool dead = false;       // complete, and not merged: see TakeFragment
    Cache::Told told{};      // by Cache::MergeAndTell, of what was written on a condition
  };
  // Requires: what the codec checks; fragment.total > 0.
  Taken Take(ConnId from, const Fragment& fragment, SteadyMs now);

  // From which offset on `from` is to bring it; nothing while another stream does.
  std::optional<std::uint64_t> Next(ConnId from, const EntryId& id, SteadyMs now) const;

  // It has come another way.
  void Forget(const EntryId& id);
  // `from` does not go on with it: others may at once.
  void Release(ConnId from, const EntryId& id);
  // The stream is gone: others may go on with what it brought.
  void Left(ConnId from);
  // Forgets what is too old.
  void Sweep(SteadyMs now);

  std::uint64_t bytes() const;  // of the entries under way, as they will be

 private:
  struct Partial {
    std::string bytes;
    std::uint64_t total = 0;
    ConnId from = 0;  // 0 = that stream is gone
    SteadyMs at = 0;  // when it last went on
  };
  using Map = std::map<EntryId, Partial>;

  static bool Busy(const Partial& partial, ConnId from, SteadyMs now) {
    return partial.from != 0 && partial.from != from && now - partial.at < kSilenceMs;
  }
  bool MakeRoom(std::uint64_t bytes, SteadyMs now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Map::iterator Drop(Map::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  Map partials_ ABSL_GUARDED_BY(mu_);
  std::uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // sum of their totals
};

// Takes a fragment that came on the stream `from`: what it completes is merged, and may be dead, as
// by Cache::MergeAll. What is in the cache already is complete. Any thread.
Assembly::Taken TakeFragment(Cache& cache, Assembly& assembly, ConnId from,
                             const Fragment& fragment, SteadyMs now, WallMs expired_by,
                             std::optional<std::uint64_t> dead_floor);

}  // namespace podmirror::sync
