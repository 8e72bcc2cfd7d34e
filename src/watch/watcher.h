// A Watcher is one reader of changes: a place in the change log, and what it is still to be told
// before it is there. It holds nothing of what it has told, so a slow or stopped reader costs what
// its socket holds. Who falls out of the log is reset: it gets the whole state again.
//
// How the state is told beside changes: bucket by bucket. Each bucket is read together with the
// number of the change that it is as of. Of the changes meanwhile, those of buckets read are told,
// if they are later than that; those of buckets to come are not, for the bucket will hold them. So
// no version of a key goes back, and none is missed.
//
// Thread safety: none; one thread at a time.
// Invariants: (1) of each key, versions told never go back between two resets.
//             (2) when it says synced, whoever has applied all that it told since the reset holds
//                 what the cache held at some moment since, of what the filter wants.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/env.h"
#include "watch/event.h"
#include "watch/feed.h"

namespace podmirror::watch {

// A watcher that was told nothing for so long gets a bookmark.
inline constexpr std::int64_t kBookmarkMs = 10'000;

struct Start {
  bool initial = false;  // tell what is there first
  bool resume = false;   // go on behind `since`; where that is not known, from a reset
  std::optional<Token> since = std::nullopt;  // nothing: it was no token
  bool state = true;  // follows a reset; false: who asks learns it otherwise
};

class Watcher {
 public:
  // Null when there are too many watchers. `feed`'s Feeds must outlive it.
  static std::unique_ptr<Watcher> Open(std::shared_ptr<Feed> feed, const Start& start, Now now);
  ~Watcher() { feeds_.GiveWatcher(); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // What is to be read next; null when there is nothing now. Then ask again at once if it has only
  // looked at enough for one call, which says more(); else when the log has told a change, and each
  // second or so: bookmarks and a lack of room are a matter of time.
  PartRef Next(Now now);
  bool more() const { return more_; }
  // All changes up to this number are told, or on their way in what Next returned; 0 when it has to
  // tell something else first: a reset, or the state.
  std::uint64_t at() const { return phase_ == Phase::kLive && untold_.empty() ? at_ : 0; }
  // It is telling the state, and that there was a reset is told.
  bool in_state() const { return phase_ == Phase::kState && untold_.empty(); }

 private:
  enum class Phase : std::uint8_t {
    kReset,   // to be told that it has to forget all
    kState,   // the buckets, and the changes of those told already
    kMissed,  // the changes up to synced_at_
    kLive,
  };

  Watcher(std::shared_ptr<Feed> feed, const Start& start, Now now);

  // Each returns false when there is nothing to be told now, or `part` is it.
  bool StepState(WallMs now);
  bool StepChanges(Now now, PartRef& part);
  void Tell(EventKind kind, std::uint64_t number) {
    untold_.push_back({.kind = kind, .number = number});
  }
  void BeginState();
  void ReadBuckets(WallMs now);
  void Replay();
  // The change of this number is of a bucket that has been read, and later than that.
  bool BehindTheState(const Entry& entry, std::uint64_t number) const;

  const std::shared_ptr<Feed> feed_;
  Feeds& feeds_;
  const bool state_;  // Start::state
  Phase phase_;
  std::uint64_t at_ = 0;         // all changes up to this number are told, or not to be told
  std::uint64_t synced_at_ = 0;  // kMissed
  SteadyMs told_at_;
  // kState: buckets up to bucket_ are read; those from read_from_ on as of these numbers, and the
  // changes up to replay_to_ have not been looked at yet.
  std::uint32_t bucket_ = 0;
  std::uint32_t read_from_ = 0;
  std::vector<std::uint64_t> as_of_;
  std::uint64_t replay_to_ = 0;
  std::vector<Event> untold_;  // to become the next part
  bool more_ = false;
};

}  // namespace podmirror::watch
