#include "follow/follower.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "sync/hlc.h"

namespace podmirror::follow {

Follower::Follower(Cache& cache, Scope scope, std::uint64_t max_bytes)
    : cache_(cache), scope_(scope), max_bytes_(max_bytes) {
  // What a part is told comes in one order, so it needs no tombstones.
  if (scope_ == Scope::kPart) cache_.RaiseFloor(UINT64_MAX);
}

void Follower::Opened(Now now) {
  Lost();
  opened_at_ = began_at_ = compared_at_ = now.steady;
  lag_ = INT64_MAX;
  if (scope_ == Scope::kPart) BeginPart();
}

void Follower::Lost() {
  open_ = complete_ = equal_ = false;
  asked_ = Asked::kNothing;
  unmerged_.clear();
  large_.clear();
  asked_large_.reset();
  pass_.reset();
  part_.reset();
  if (std::exchange(copied_, false)) copying_ = false;  // a pass brings what was not merged
  copy_broken_ = true;
  retry_ms_ = kFirstRetryMs;
  retry_at_ = 0;
  told_ = kept_ahead_ = false;
  due_.reset();
}

// --- what comes by the stream ---

Status Follower::OnChanges(const Changes& changes, Now now) {
  received_ += changes.entries.size();
  if (!std::exchange(told_, true)) ++streams_;
  if (scope_ == Scope::kPart) return OnPart(changes, now);
  if (!MergeFitting(changes.entries)) return NoRoom();
  for (const sync::EntryId& id : changes.large) {
    const auto found = std::find(large_.begin(), large_.end(), id.key_hash);
    if (found == large_.end()) large_.push_back(id.key_hash);
  }
  const bool many = large_.size() > kMaxLarge;  // a pass finds them as well
  if (many) large_.clear();
  if (many || changes.missed) Missed();
  return changes.state ? OnState(*changes.state, now) : Status();
}

void Follower::Missed() {
  complete_ = equal_ = false;
  copy_broken_ = pass_broken_ = pass_wanted_ = true;
  due_.reset();
}

void Follower::NoteState(const DaemonState& state, SteadyMs now) {
  if (lag_ != INT64_MAX) lag_ += kLagRiseMs;
  lag_ = std::min(lag_, now - state.steady);
  daemon_ = state;
}

Status Follower::OnState(const DaemonState& state, Now now) {
  if (!sync::Hlc::Acceptable(state.purge_floor, now.wall)) return Invalid("its clock is far ahead");
  NoteState(state, now.steady);
  cache_.RaiseFloor(state.purge_floor);
  cache_.Purge();
  cache_.Sweep(state.expired_by);
  if (!open_) {
    open_ = true;
    const CacheStats stats = cache_.Stats();
    if (!copying_ && stats.entries + stats.tombstones == 0) {
      copying_ = true;
      copy_broken_ = false;
      position_ = {};
      began_at_ = now.steady;
    }
    pass_wanted_ = !copying_;
    return {};
  }
  if (left_out_ && !pass_) return NoRoom();
  if (kept_ahead_ && now.steady - opened_at_ >= kAheadMs) {
    kept_ahead_ = false;
    pass_wanted_ = true;
  }
  if (!complete_) {
    equal_ = false;
  } else if (large_left() != 0) {
    equal_ = false;
    if (!due_) due_ = Due{told_at(), large_left()};
  } else {
    as_of_ = std::max(as_of_, told_at());
    CompareDigests(now.steady);
  }
  return {};
}

// They are taken in the order in which they were told.
void Follower::OnLargeTaken() {
  asked_large_.reset();
  if (!due_ || --due_->large != 0) return;
  as_of_ = std::max(as_of_, due_->as_of);
  due_.reset();
}

// What differs may be a matter of time; so each look is later than the last. Under writes that
// never pause no digest is told: then a pass looks, which costs next to nothing when all is equal.
void Follower::CompareDigests(SteadyMs now) {
  if (!daemon_.digest && now - compared_at_ < kLastRetryMs) return;
  compared_at_ = now;
  if (!daemon_.digest) {
    pass_wanted_ = true;
    return;
  }
  equal_ = cache_.digest() == daemon_.digest;
  if (equal_) {
    retry_ms_ = kFirstRetryMs;
    retry_at_ = 0;
  } else if (!pass_ && now >= retry_at_) {
    pass_wanted_ = true;
    retry_at_ = now + retry_ms_;
    retry_ms_ = std::min(2 * retry_ms_, kLastRetryMs);
  }
}

// --- a part ---

Status Follower::OnPart(const Changes& changes, Now now) {
  if (changes.missed) BeginPart();
  if (!MergeFitting(changes.entries)) return NoRoom();
  if (part_) {
    for (const EntryRef& entry : changes.entries) {
      const EntryRef here = cache_.Peek(entry->type(), entry->key());
      const bool same = here && here->version() == entry->version();
      if (here && !same) older_bytes_ += entry->memory_bytes();
      part_->Merge(same ? here : entry, daemon_.expired_by);
    }
    if (memory_bytes() > max_bytes_) return NoRoom();
  }
  if (changes.synced && part_) ReplacePart(now);
  if (!changes.state) return {};
  NoteState(*changes.state, now.steady);
  cache_.Sweep(daemon_.expired_by);
  if (complete_) as_of_ = std::max(as_of_, told_at());
  return {};
}

void Follower::BeginPart() {
  complete_ = false;
  older_bytes_ = 0;
  part_ = std::make_unique<Cache>();
  part_->RaiseFloor(UINT64_MAX);
}

// What is here and was not told goes; so does what was told in an older version, which the daemon
// has lost.
void Follower::ReplacePart(Now now) {
  const std::unique_ptr<Cache> part = std::move(part_);
  for (std::uint32_t bucket = cache_.NextStored(0); bucket < kBuckets;
       bucket = cache_.NextStored(bucket + 1)) {
    std::vector<std::uint64_t> lost;
    for (const EntryRef& entry : cache_.Bucket(bucket)) {
      const EntryRef told = part->Peek(entry->type(), entry->key());
      if (!told || told->version() < entry->version()) lost.push_back(entry->key_hash());
    }
    if (!lost.empty()) cache_.Drop(lost, UINT64_MAX, now.wall);
  }
  for (std::uint32_t bucket = part->NextStored(0); bucket < kBuckets;
       bucket = part->NextStored(bucket + 1)) {
    cache_.MergeAll(part->Bucket(bucket), daemon_.expired_by);
  }
  Completed(began_at_);
}

// --- what is asked ---

std::optional<sync::Message> Follower::Next(Now now) {
  if (!open_ || asked_ != Asked::kNothing || copied_) return std::nullopt;
  if (copying_) {
    asked_ = Asked::kCopy;
    return sync::Fetch{position_};
  }
  if (!large_.empty()) {
    asked_ = Asked::kLarge;
    return OfferLarge();
  }
  return NextOfPass(now);
}

sync::Offer Follower::OfferLarge() {
  const std::uint64_t key_hash = large_.front();
  large_.pop_front();
  asked_large_ = key_hash;
  sync::Offer offer;
  offer.buckets = {BucketOf(key_hash)};
  offer.first = offer.last = key_hash;
  for (const EntryRef& entry : cache_.Bucket(BucketOf(key_hash))) {
    if (entry->key_hash() != key_hash) continue;
    offer.listed.push_back({key_hash, entry->version(), entry->tombstone()});
  }
  return offer;
}

std::optional<sync::Message> Follower::NextOfPass(Now now) {
  for (;;) {
    if (pass_ && pass_->done()) {
      pass_.reset();
      if (!pass_broken_ && !left_out_) Completed(began_at_);
    }
    if (!pass_) {
      if (!pass_wanted_) return std::nullopt;
      pass_wanted_ = pass_broken_ = left_out_ = false;
      began_at_ = now.steady;
      pass_.emplace(
          sync::PassStart{.id = ++passes_, .hlc = UINT64_MAX, .peer_floor = daemon_.purge_floor});
    }
    std::optional<sync::Message> message = pass_->Next(cache_);
    if (!message) return std::nullopt;
    const auto* push = std::get_if<sync::Push>(&*message);
    if (push == nullptr) {
      asked_ = Asked::kPass;
      offered_.clear();
      if (const auto* offer = std::get_if<sync::Offer>(&*message)) {
        for (const sync::Listed& listed : offer->listed) {
          offered_[listed.key_hash] = listed.version;
        }
      }
      return message;
    }
    OnAhead(push->entries, now);
    pass_->OnPushReply({push->pass});
  }
}

// The daemon has not got the versions that were offered. (One that came by the stream since then,
// it has.)
void Follower::OnAhead(const std::vector<EntryRef>& entries, Now now) {
  bool lost = false;
  for (const EntryRef& entry : entries) {
    const Version version = entry->version();
    const auto offered = offered_.find(entry->key_hash());
    if (offered == offered_.end() || offered->second != version) continue;
    if (now.steady - opened_at_ < kAheadMs) {
      kept_ahead_ = true;
      continue;
    }
    const std::uint64_t key_hash = entry->key_hash();
    cache_.Drop({&key_hash, 1}, version.hlc, now.wall);
    lost = true;
  }
  if (lost) Missed();  // the next pass brings what the daemon has in their place
}

void Follower::Completed(SteadyMs began) {
  complete_ = true;
  as_of_ = std::max(as_of_, began);
}

// --- what is answered ---

Status Follower::OnReply(sync::Message reply, Now now) {
  const Asked asked = std::exchange(asked_, Asked::kNothing);
  if (auto* copied = std::get_if<sync::FetchReply>(&reply); copied && asked == Asked::kCopy) {
    return OnCopied(*copied);
  }
  if (const auto* sums = std::get_if<sync::Sums>(&reply); sums && asked == Asked::kPass) {
    pass_->OnSums(*sums, cache_);
    return pass_->HasNext() || pass_->done() ? Status() : Invalid("sums that were not asked for");
  }
  const auto* offered = std::get_if<sync::OfferReply>(&reply);
  if (offered && (asked == Asked::kPass || asked == Asked::kLarge)) {
    return OnOffered(*offered, asked, now);
  }
  return Invalid("an answer that was not asked for");
}

// Where there is no room for a copy, a pass on the next stream takes what fits.
Status Follower::OnCopied(sync::FetchReply& reply) {
  if (reply.busy) return {Code::kUnavailable, "busy"};
  std::size_t bytes = 0;
  for (const EntryRef& entry : reply.entries) bytes += entry->packed_size();
  if (!reply.done && (reply.next <= position_ || bytes < sync::kChunkBytes)) {
    return Invalid("a copy that does not go on");
  }
  if (Status status = CheckRoom(reply.entries); !status.ok()) {
    copying_ = false;
    return status;
  }
  position_ = reply.next;
  copied_ = reply.done;
  unmerged_.insert(unmerged_.end(), std::make_move_iterator(reply.entries.begin()),
                   std::make_move_iterator(reply.entries.end()));
  return {};
}

void Follower::Merge() {
  const std::vector<EntryRef> entries = std::exchange(unmerged_, {});
  cache_.MergeAll(entries, daemon_.expired_by);
  received_ += entries.size();
  if (!std::exchange(copied_, false)) return;
  copying_ = false;
  if (copy_broken_) {
    pass_wanted_ = true;
  } else {
    Completed(began_at_);
  }
}

// A pass goes on past what has no room: what is dead further on may make some.
Status Follower::OnOffered(const sync::OfferReply& reply, Asked asked, Now now) {
  if (!reply.large.empty()) return Invalid("a large entry that is not told");
  const bool fits = MergeFitting(reply.entries);
  received_ += reply.entries.size();
  if (asked == Asked::kLarge) {
    OnLargeTaken();
    return fits ? Status() : NoRoom();
  }
  if (!fits) left_out_ = true;
  pass_->OnOfferReply(reply, cache_, now.wall);
  return pass_->broken() ? Invalid("entries that were not asked for") : Status();
}

// --- room ---

std::uint64_t Follower::memory_bytes() const {
  return cache_.memory_bytes() + (part_ ? older_bytes_ : 0);
}

Status Follower::CheckRoom(const std::vector<EntryRef>& entries) const {
  std::uint64_t bytes = memory_bytes();
  for (const EntryRef& entry : entries) bytes += entry->memory_bytes();
  return bytes <= max_bytes_ ? Status() : NoRoom();
}

Status Follower::NoRoom() const {
  return {Code::kExhausted, "the daemon's entries, and those that are to go, take more than " +
                                std::to_string(max_bytes_) + " bytes of memory"};
}

bool Follower::MergeFitting(const std::vector<EntryRef>& entries) {
  if (CheckRoom(entries).ok()) {
    cache_.MergeAll(entries, daemon_.expired_by);
    return true;
  }
  bool all = true;
  for (const EntryRef& entry : entries) {
    const EntryRef here = cache_.Peek(entry->type(), entry->key());
    if (here && here->version() >= entry->version()) continue;
    const std::uint64_t freed = here ? here->memory_bytes() : 0;
    const std::uint64_t taken = entry->memory_bytes();
    if (taken > freed && memory_bytes() + (taken - freed) > max_bytes_) {
      all = false;
    } else {
      cache_.Merge(entry, daemon_.expired_by);
    }
  }
  return all;
}

}  // namespace podmirror::follow
