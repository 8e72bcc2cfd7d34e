// Polls are the reads that wait until their entry has another version than the caller knows.
// Thread safety: all calls from any thread.
// Invariants: (1) each is answered once: with another version, or 304 when its time is over.
//             (2) with the watchers, there are max_watchers at most.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "rest/http.h"
#include "watch/feed.h"

namespace podmirror::rest {

class Polls {
 public:
  struct Poll {
    std::uint64_t key_hash = 0;
    std::uint64_t as_of = 0;  // the change after which the entry was found unchanged
    SteadyMs until = 0;
    // The answer as the cache is now; its status is 304 as long as the entry is unchanged.
    std::function<Response()> read;
    std::function<void(Response)> answer;
    std::function<bool()> left;  // the client has hung up
  };

  // Must outlive this.
  explicit Polls(watch::Feeds& feeds) : feeds_(feeds) {}

  // Answers `poll` now or later. False when there are too many: then it is dropped.
  bool Add(Poll poll);
  // The cache has changed.
  void Look();
  // Answers those whose time is over or whose client has left. Several times a second.
  void Tick(SteadyMs now);
  // Answers all, and from now on each at once.
  void End();

 private:
  using Waiting = std::multimap<std::uint64_t, Poll>;  // by key hash
  using Answers = std::vector<std::pair<Poll, Response>>;

  // False when all has ended.
  bool Keep(const Poll& poll);
  // Takes out those of them whose entries are other ones.
  void TakeAnswered(Waiting::iterator it, Waiting::iterator end, Answers& answers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same of all whose entries have changed since at_.
  Answers TakeChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Give(Answers& answers);

  watch::Feeds& feeds_;
  std::atomic<bool> any_{false};
  absl::Mutex mu_;
  Waiting waiting_ ABSL_GUARDED_BY(mu_);
  std::uint64_t at_ ABSL_GUARDED_BY(mu_) = 0;  // changes up to this number have been looked at
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace podmirror::rest
