// A Pass makes two caches equal. It is the asking side, driven by the dialler over its link; the
// answers (answers.h) are pure functions of the acceptor's cache. Both ways, only what is newer
// travels; the cost is that of the difference.
//
//   asker                                   answerer
//   SumsRequest {}                       -> Sums of the 256 groups
//   SumsRequest {some differing groups}  -> Sums of their buckets
//   Offer {all I hold in some buckets}   -> OfferReply {what is newer here, what I want of yours,
//                                                       what is dead}
//   Push {what you want}                 -> PushReply
//   and what is large in fragments: large_exchange.h
//
// What is dead: one side may have forgotten a tombstone of which the other, out of contact for
// long, never heard. Each has had everything up to its purge floor (see retention.h), so what is
// not above that and missing was deleted. The other side drops it.
//
// A pass is complete when every bucket that differed was exchanged. The digests need not be equal
// at any instant: under writes they never are. What a completed pass promises: the version of each
// key that either side held when it began, or a newer one, is at both; where the newest is a
// tombstone at or below a side's purge floor, that side holds nothing for the key;
// and nothing that was dead is left at the asker. So, after a pass each way, without
// writes meanwhile, the caches differ in nothing but tombstones that one of them has purged.
// Two keys with the same 64-bit hash may need a second pass.
// Thread safety: none; belongs to its Link.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "cache/cache.h"
#include "sync/large_exchange.h"
#include "sync/message.h"
#include "sync/transfer.h"

namespace podmirror::sync {

// What stands when a pass begins.
struct PassStart {
  std::uint64_t id = 0;   // unique on its link in its low 32 bits
  std::uint64_t hlc = 0;  // our clock
  std::uint64_t seq = 0;  // the last number of our backlog: all writes up to it are in the cache
  std::uint64_t peer_floor = 0;    // the answerer's, as it last told
  std::uint64_t peer_contact = 0;  // the same
  bool fragments = false;          // it has kFragmentsFeature
};

class Pass {
 public:
  explicit Pass(const PassStart& start) : start_(start), request_(start.id) {}

  // The next request, once; nothing while a reply is awaited or when done.
  std::optional<Message> Next(const Cache& cache);
  // True when there is a request to be had from Next.
  bool HasNext() const { return !awaiting_ && !done_ && step_ != Step::kLarge; }
  // The step of large entries, while the pass is at it; null otherwise. After each use of it,
  // LargeUsed.
  LargeExchange* large() { return step_ == Step::kLarge && !done_ ? &large_ : nullptr; }
  const LargeExchange* large() const { return const_cast<Pass*>(this)->large(); }
  // Goes on with the next step when no large entry is left.
  void LargeUsed();

  // Replies; all but the one to the present request are ignored. Entries have been merged already.
  void OnSums(const Sums& sums, const Cache& cache);
  // Drops what is dead; `now` as for Cache::Drop.
  void OnOfferReply(const OfferReply& reply, Cache& cache, WallMs now);
  void OnPushReply(const PushReply& reply);

  bool done() const { return done_; }
  // Done, but something was listed and then not there any more: it promises nothing.
  bool lacks() const { return large_.lacks(); }
  // The answerer sent what was not asked for, or made no progress: with it no pass would ever end.
  // This one is over, and never done.
  bool broken() const { return broken_; }
  const PassStart& start() const { return start_; }
  // The answerer's highest purge floor since the pass began.
  std::uint64_t floor() const { return floor_; }
  std::uint64_t received() const { return received_ + large_.received(); }
  std::uint64_t sent() const { return sent_ + large_.sent(); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  enum class Step { kGroupSums, kBucketSums, kOffer, kPush, kLarge };

  Offer MakeOffer(const Cache& cache);
  Push MakePush(const Cache& cache);
  bool Awaits(Step step, std::uint64_t request) const {
    return awaiting_ && !broken_ && step_ == step && request_ == request;
  }
  bool Plausible(const OfferReply& reply) const;
  // Chooses the step from what is left to do.
  void Continue();

  // What is left to do.
  struct Work {
    std::deque<std::uint32_t> groups;   // differ, not looked into yet; rising
    std::deque<std::uint32_t> buckets;  // differ, not exchanged yet; rising
    std::uint64_t first = 0;            // key hash from which on the front bucket is not exchanged
    std::uint64_t last = 0;             // key hash up to which the last Offer went
    std::size_t offered = 0;            // buckets at the front that the last Offer held
    std::deque<std::uint64_t> wants;    // key hashes that the answerer wants, rising
  };

  PassStart start_;
  std::uint64_t request_;  // the id of the pass and the number of its present request
  Step step_ = Step::kGroupSums;
  bool awaiting_ = false;
  bool done_ = false;
  bool broken_ = false;
  Work work_;
  LargeExchange large_;
  std::uint64_t floor_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace podmirror::sync
