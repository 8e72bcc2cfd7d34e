#include "watch/watcher.h"

#include <algorithm>
#include <span>
#include <utility>

#include "cache/digest.h"

namespace podmirror::watch {
namespace {

// Buckets read in one go, so that what is noted of each stays little; and entries looked at there,
// whether wanted or not.
constexpr std::uint32_t kBucketsRead = 4096;
constexpr std::size_t kEntriesRead = 4096;
// Steps of one call of Next: some milliseconds, however much there is that the filter does not
// want.
constexpr int kSteps = 8;

}  // namespace

std::unique_ptr<Watcher> Watcher::Open(std::shared_ptr<Feed> feed, const Start& start, Now now) {
  if (!feed->feeds().TakeWatcher()) return nullptr;
  return std::unique_ptr<Watcher>(new Watcher(std::move(feed), start, now));
}

Watcher::Watcher(std::shared_ptr<Feed> feed, const Start& start, Now now)
    : feed_(std::move(feed)), feeds_(feed_->feeds()), state_(start.state), told_at_(now.steady) {
  const std::uint64_t last = feeds_.changes().last();
  if (start.resume) {
    const bool ours = start.since && start.since->incarnation == feeds_.incarnation();
    const bool known = ours && start.since->number > 0 && start.since->number <= last;
    phase_ = known ? Phase::kMissed : Phase::kReset;
    at_ = known ? start.since->number : 0;
  } else {
    phase_ = start.initial ? Phase::kState : Phase::kMissed;
    at_ = last;
  }
  synced_at_ = last;
  replay_to_ = at_;
}

PartRef Watcher::Next(Now now) {
  more_ = false;
  for (int steps = 0; steps < kSteps; ++steps) {
    if (!untold_.empty()) {
      PartRef part = feed_->Make(untold_, now.wall);
      if (part) {
        untold_.clear();
        told_at_ = now.steady;
      }
      return part;
    }
    switch (phase_) {
      case Phase::kReset:
        Tell(EventKind::kReset, 0);
        if (state_) {
          BeginState();
        } else {
          at_ = feeds_.changes().last();
          phase_ = Phase::kLive;
        }
        break;
      case Phase::kState:
        if (!StepState(now.wall)) phase_ = Phase::kReset;
        break;
      case Phase::kMissed:
        if (at_ >= synced_at_) {
          Tell(EventKind::kSynced, at_);
          phase_ = Phase::kLive;
          break;
        }
        [[fallthrough]];
      case Phase::kLive:
        PartRef part;
        if (!StepChanges(now, part)) return part;
        break;
    }
  }
  more_ = true;
  return nullptr;
}

void Watcher::BeginState() {
  phase_ = Phase::kState;
  at_ = replay_to_ = feeds_.changes().last();
  bucket_ = read_from_ = 0;
  as_of_.clear();
}

bool Watcher::StepState(WallMs now) {
  if (at_ < replay_to_) {
    Replay();
    return phase_ == Phase::kState;
  }
  if (bucket_ == kBuckets) {
    as_of_.shrink_to_fit();
    Tell(EventKind::kSynced, at_);
    phase_ = Phase::kLive;
    return true;
  }
  ReadBuckets(now);
  replay_to_ = feeds_.changes().last();
  return true;
}

void Watcher::ReadBuckets(WallMs now) {
  as_of_.clear();
  read_from_ = bucket_;
  std::size_t bytes = 0;
  std::size_t entries = 0;
  while (bucket_ < kBuckets && bytes < kPartBytes && entries < kEntriesRead &&
         as_of_.size() < kBucketsRead) {
    for (EntryRef& entry : feeds_.cache().Bucket(bucket_, as_of_.emplace_back())) {
      ++entries;
      if (entry->tombstone() || entry->expired(now) || !feed_->filter().Wants(*entry)) continue;
      bytes += entry->memory_bytes();
      untold_.push_back({.kind = EventKind::kPut, .number = 0, .entry = std::move(entry)});
    }
    ++bucket_;
  }
}

void Watcher::Replay() {
  std::vector<Change> changes;
  if (!feeds_.changes().Read(at_, kPartBytes, changes)) {
    phase_ = Phase::kReset;
    return;
  }
  for (Change& change : changes) {
    if (at_ == replay_to_) break;
    ++at_;
    if (!feed_->filter().Wants(*change.entry) || !BehindTheState(*change.entry, at_)) continue;
    const bool gone = change.entry->tombstone();
    untold_.push_back({.kind = gone ? EventKind::kDelete : EventKind::kPut,
                       .number = 0,
                       .entry = std::move(change.entry),
                       .expired = change.expired});
  }
}

bool Watcher::BehindTheState(const Entry& entry, std::uint64_t number) const {
  const std::uint32_t bucket = BucketOf(entry.key_hash());
  if (bucket >= bucket_) return false;
  return bucket < read_from_ || number > as_of_[bucket - read_from_];
}

bool Watcher::StepChanges(Now now, PartRef& part) {
  if (at_ >= feeds_.changes().last()) {
    if (now.steady - told_at_ < kBookmarkMs) return false;
    Tell(EventKind::kBookmark, at_);
    return true;
  }
  Feed::Step step = feed_->After(at_, now.wall);
  switch (step.kind) {
    case Feed::Step::Kind::kGone:
      phase_ = Phase::kReset;
      return true;
    case Feed::Step::Kind::kNoRoom:
      return false;
    case Feed::Step::Kind::kMoved:
      at_ = step.to;
      if (!step.part) return true;
      told_at_ = now.steady;
      part = std::move(step.part);
      return false;
  }
  return false;
}

}  // namespace podmirror::watch
