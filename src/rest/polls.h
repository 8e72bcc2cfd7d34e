// Polls are the reads that wait until their entry has another version than the caller knows.
// Whoever changes the cache only learns that somebody waits: a worker looks, and gives some of the
// answers in a turn.
// Thread safety: all calls from any thread.
// Invariants: (1) each is answered once: with another version, or 304 when its time is over.
//             (2) with the watchers, there are max_watchers at most.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "rest/entry_read.h"
#include "rest/http.h"
#include "watch/feed.h"

namespace podmirror::rest {

class Polls {
 public:
  struct Poll {
    EntryRead read;
    std::uint64_t as_of = 0;  // the change after which the entry was found unchanged
    SteadyMs until = 0;
    std::function<void(Response)> answer;
    std::function<bool()> left;  // the client has hung up
  };

  // Both must outlive this.
  Polls(watch::Feeds& feeds, const Env& env) : feeds_(feeds), env_(env) {}

  // Answers `poll` later: call Look soon. False when there are too many: then it is dropped.
  bool Add(Poll poll);
  // Somebody waits, so that changes are worth a Look.
  bool waiting() const { return any_.load(); }
  // Answers those whose entries have changed, but a part of them only when they are many. True when
  // it is to be called again.
  bool Look();
  // Answers those whose time is over or whose client has left. Several times a second.
  void Tick();
  // Answers all, and from now on each at once.
  void End();

 private:
  using Waiting = std::multimap<std::uint64_t, Poll>;  // by key hash

  static constexpr std::size_t kAnswers = 64;  // in one Look

  // Makes due whose entries have changed since at_.
  void TakeChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Those of them whose entries are other ones.
  void TakeOther(Waiting::iterator it, Waiting::iterator end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Answer(const std::vector<Poll>& polls);

  watch::Feeds& feeds_;
  const Env& env_;
  std::atomic<bool> any_{false};  // some wait or are due
  absl::Mutex mu_;
  Waiting waiting_ ABSL_GUARDED_BY(mu_);
  std::vector<Poll> due_ ABSL_GUARDED_BY(mu_);
  std::uint64_t at_ ABSL_GUARDED_BY(mu_) = 0;  // changes up to this number have been looked at
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace podmirror::rest
