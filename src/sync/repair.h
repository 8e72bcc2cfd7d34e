// Repair: how two caches are made equal. A Pass is the asking side, driven by the dialler over its
// link; the answers are pure functions of the acceptor's cache. Both ways, only what is newer
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
// long, never heard. Each has had everything up to its purge floor (see node_floor.cpp), so what is
// not above that and missing was deleted. The other side drops it.
//
// A pass is complete when every bucket that differed was exchanged. The digests need not be equal
// at any instant: under writes they never are. What a completed pass promises: the version of each
// key that either side held when it began, or a newer one, is at both; where the newest is a
// tombstone at or below a side's purge floor, that side holds nothing for the key;
// and nothing that was dead is left at the asker. So, after a pass each way, without
// writes meanwhile, the caches differ in nothing but tombstones that one of them has purged.
// Two keys with the same 64-bit hash may need a second pass.
// Thread safety: Pass: none, belongs to its Link. The answers: any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "cache/cache.h"
#include "sync/large_exchange.h"
#include "sync/message.h"
#include "sync/transfer.h"

namespace podmirror::sync {

class Pass {
 public:
  // id: unique on its link in its low 32 bits. begun_hlc, begun_seq: our clock and the last number
  // of our backlog at the start; all writes up to begun_seq are in the cache. peer_floor,
  // peer_reached: as the answerer last told. fragments: it has kFragmentsFeature.
  Pass(std::uint64_t id, std::uint64_t begun_hlc, std::uint64_t begun_seq, std::uint64_t peer_floor,
       std::uint64_t peer_reached, bool fragments)
      : request_(id),
        begun_hlc_(begun_hlc),
        begun_seq_(begun_seq),
        peer_floor_(peer_floor),
        peer_reached_(peer_reached),
        fragments_(fragments) {}

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
  std::uint64_t begun_hlc() const { return begun_hlc_; }
  std::uint64_t begun_seq() const { return begun_seq_; }
  std::uint64_t peer_floor() const { return peer_floor_; }
  std::uint64_t peer_reached() const { return peer_reached_; }
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

  std::uint64_t request_;  // the id of the pass and the number of its present request
  std::uint64_t begun_hlc_;
  std::uint64_t begun_seq_;
  std::uint64_t peer_floor_;
  std::uint64_t peer_reached_;
  bool fragments_;
  Step step_ = Step::kGroupSums;
  bool awaiting_ = false;
  bool done_ = false;
  bool broken_ = false;
  std::deque<std::uint32_t> groups_;   // differ, not looked into yet; rising
  std::deque<std::uint32_t> buckets_;  // differ, not exchanged yet; rising
  std::uint64_t first_ = 0;            // key hash from which on the front bucket is not exchanged
  std::uint64_t last_ = 0;             // key hash up to which the last Offer went
  std::size_t offered_ = 0;            // buckets at the front that the last Offer held
  std::deque<std::uint64_t> wants_;    // key hashes that the answerer wants, rising
  LargeExchange large_;
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t dropped_ = 0;
};

// What an answer needs to know of the asker.
struct Asker {
  std::uint64_t floor = 0;  // its purge floor, as it last told
  bool fragments = false;   // it has kFragmentsFeature
};

// A request with what the answer needs to know beside the cache, so that the answer can be made
// without the driver's lock; or a fragment to be cut.
struct Question {
  std::variant<SumsRequest, Offer, Fetch, FragmentRequest, Slice> request;
  Asker asker;
};
Message Answer(const Cache& cache, const Question& question);

Sums AnswerSums(const Cache& cache, const SumsRequest& request);
OfferReply AnswerOffer(const Cache& cache, const Offer& offer, const Asker& asker);
// One chunk of the copy. Everything that is in the cache throughout the copy is in some chunk, but
// for large entries where the asker takes fragments: the pass that checks the copy brings these.
FetchReply AnswerFetch(const Cache& cache, const Fetch& fetch, const Asker& asker);
// Of the version asked for, else of a newer one, then from its start.
Fragment AnswerFragment(const Cache& cache, const FragmentRequest& request);

struct Keyed {
  std::uint64_t key_hash;
  EntryRef entry;
};
// All that is stored in one bucket, by rising key hash and version.
std::vector<Keyed> KeyedBucket(const Cache& cache, std::uint32_t bucket);

}  // namespace podmirror::sync
