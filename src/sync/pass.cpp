#include "sync/pass.h"

#include <algorithm>

#include "sync/keyed.h"

namespace podmirror::sync {
namespace {

// Requests are kept small: they are made under the driver's lock.
constexpr std::size_t kGroupsPerRequest = 16;
constexpr std::size_t kListedPerOffer = 2048;
constexpr std::size_t kWantsPerPush = 512;
// What a single bucket of a huge cache takes: half of what a message may list, for it has to fit
// into kSilenceMs on a slow network as well.
constexpr std::size_t kListedPerBucket = kMaxListed / 2;
// The number of the request stands above the id of the pass.
constexpr std::uint64_t kNextRequest = std::uint64_t{1} << 32;

// What the asker holds of the bucket from `first` on, in no order.
std::vector<Listed> ListBucket(const Cache& cache, std::uint32_t bucket, std::uint64_t first) {
  std::vector<Listed> listed;
  for (const EntryRef& entry : cache.Bucket(bucket)) {
    const std::uint64_t key_hash = entry->key_hash();
    if (key_hash >= first) listed.push_back({key_hash, entry->version(), entry->tombstone()});
  }
  return listed;
}

// Cuts a listing that is too long for one message. Returns the last key hash that is listed in
// full.
std::uint64_t CutListing(std::vector<Listed>* listed) {
  const auto limit = listed->begin() + static_cast<std::ptrdiff_t>(kListedPerBucket);
  std::nth_element(listed->begin(), limit, listed->end(),
                   [](const Listed& a, const Listed& b) { return a.key_hash < b.key_hash; });
  const std::uint64_t cut = limit->key_hash;
  listed->erase(limit, listed->end());
  const auto below = std::partition(listed->begin(), listed->end(),
                                    [cut](const Listed& item) { return item.key_hash < cut; });
  // So many keys of one hash: what is listed differs from what the answerer holds, whatever that
  // is, and then all of them are exchanged.
  if (below == listed->begin()) return cut;
  listed->erase(below, listed->end());
  return cut - 1;
}

}  // namespace

void Pass::Continue() {
  awaiting_ = false;
  request_ += kNextRequest;
  if (!work_.wants.empty()) {
    step_ = Step::kPush;
  } else if (!large_.done()) {
    step_ = Step::kLarge;
  } else if (!work_.buckets.empty()) {
    step_ = Step::kOffer;
  } else if (!work_.groups.empty()) {
    step_ = Step::kBucketSums;
  } else {
    done_ = true;
  }
}

void Pass::LargeUsed() {
  if (step_ == Step::kLarge && large_.done()) Continue();
}

std::optional<Message> Pass::Next(const Cache& cache) {
  if (!HasNext()) return std::nullopt;
  awaiting_ = true;
  switch (step_) {
    case Step::kGroupSums:
      return SumsRequest{request_, {}};
    case Step::kBucketSums: {
      SumsRequest request{request_, {}};
      const std::size_t count = std::min(work_.groups.size(), kGroupsPerRequest);
      request.groups.assign(work_.groups.begin(),
                            work_.groups.begin() + static_cast<std::ptrdiff_t>(count));
      return request;
    }
    case Step::kOffer:
      return MakeOffer(cache);
    case Step::kPush:
      return MakePush(cache);
    case Step::kLarge:
      break;
  }
  return std::nullopt;
}

Offer Pass::MakeOffer(const Cache& cache) {
  Offer offer;
  offer.pass = request_;
  offer.first = work_.first;
  for (const std::uint32_t bucket : work_.buckets) {
    std::vector<Listed> listed = ListBucket(cache, bucket, work_.first);
    const bool full = offer.listed.size() + listed.size() > kListedPerOffer ||
                      offer.buckets.size() == kBucketsPerOffer;
    if (full && !offer.buckets.empty()) break;
    offer.buckets.push_back(bucket);
    if (listed.size() > kListedPerBucket) offer.last = CutListing(&listed);
    offer.listed.insert(offer.listed.end(), listed.begin(), listed.end());
  }
  work_.offered = offer.buckets.size();
  work_.last = offer.last;
  return offer;
}

Push Pass::MakePush(const Cache& cache) {
  Push push{request_, {}};
  std::size_t bytes = 0;
  std::size_t taken = 0;
  std::uint32_t bucket = kBuckets;
  std::vector<Keyed> keyed;
  while (!work_.wants.empty() && taken < kWantsPerPush && bytes < kChunkBytes) {
    const std::uint64_t hash = work_.wants.front();
    work_.wants.pop_front();
    ++taken;
    if (BucketOf(hash) != bucket) {
      bucket = BucketOf(hash);
      keyed = KeyedBucket(cache, bucket);
    }
    for (const Keyed& wanted : Within(keyed, hash, hash)) {
      if (start_.fragments && IsLarge(*wanted.entry)) {
        large_.Push({hash, wanted.entry->version()});
        continue;
      }
      bytes += wanted.entry->packed_size();
      push.entries.push_back(wanted.entry);
    }
  }
  sent_ += push.entries.size();
  return push;
}

void Pass::OnSums(const Sums& sums, const Cache& cache) {
  if (Awaits(Step::kGroupSums, sums.pass) && sums.groups.empty() && sums.sums.size() == kGroups) {
    const auto ours = cache.group_sums();
    for (std::uint32_t group = 0; group < kGroups; ++group) {
      if (ours[group] != sums.sums[group]) work_.groups.push_back(group);
    }
    Continue();
  } else if (Awaits(Step::kBucketSums, sums.pass) && !sums.groups.empty() &&
             sums.groups.size() <= work_.groups.size() &&
             std::equal(sums.groups.begin(), sums.groups.end(), work_.groups.begin()) &&
             sums.sums.size() == sums.groups.size() * kBucketsPerGroup) {
    for (std::size_t i = 0; i < sums.groups.size(); ++i) {
      const std::uint32_t group = work_.groups.front();
      work_.groups.pop_front();
      const auto ours = cache.group_bucket_sums(group);
      for (std::uint32_t b = 0; b < kBucketsPerGroup; ++b) {
        if (ours[b] != sums.sums[i * kBucketsPerGroup + b]) {
          work_.buckets.push_back(group * kBucketsPerGroup + b);
        }
      }
    }
    Continue();
  }
}

// Each reply that leaves something over fills a message with entries below a bound that rises: so
// an answerer can keep a pass going only as long as it has entries to give.
bool Pass::Plausible(const OfferReply& reply) const {
  const auto offered = [&](std::uint64_t key_hash) {
    const auto end = work_.buckets.begin() + static_cast<std::ptrdiff_t>(work_.offered);
    return key_hash >= work_.first && key_hash <= work_.last &&
           std::binary_search(work_.buckets.begin(), end, BucketOf(key_hash));
  };
  const auto dealt_with = [&](std::uint64_t key_hash) {
    return offered(key_hash) && (reply.next == 0 || key_hash < reply.next);
  };
  std::size_t bytes = reply.large.size() * kLargeListedBytes;
  for (const EntryRef& entry : reply.entries) {
    if (!dealt_with(entry->key_hash())) return false;
    bytes += entry->packed_size();
  }
  for (const EntryId& id : reply.large) {
    if (!dealt_with(id.key_hash)) return false;
  }
  if (!std::all_of(reply.wants.begin(), reply.wants.end(), dealt_with)) return false;
  if (!std::all_of(reply.dead.begin(), reply.dead.end(), dealt_with)) return false;
  if (reply.floor > start_.hlc) return false;  // we have seen its clock, and its floor is older
  return reply.next == 0 || (bytes >= kChunkBytes && offered(reply.next));
}

void Pass::OnOfferReply(const OfferReply& reply, Cache& cache, WallMs now) {
  if (!Awaits(Step::kOffer, reply.pass)) return;
  if (!Plausible(reply)) {
    broken_ = true;
    return;
  }
  received_ += reply.entries.size();
  floor_ = std::max(floor_, reply.floor);
  // The answerer's floor may have risen since the pass began. What lies between would be dead, too,
  // but this pass does not make that floor ours, and an older tombstone could be stored after it.
  dropped_ += cache.Drop(reply.dead, std::min(reply.floor, start_.peer_floor), now);
  work_.wants.assign(reply.wants.begin(), reply.wants.end());
  large_.Pull(reply.large);
  auto rest = work_.buckets.begin() + static_cast<std::ptrdiff_t>(work_.offered);
  work_.first = 0;
  if (reply.next != 0 || work_.last != UINT64_MAX) {
    const std::uint64_t next = reply.next != 0 ? reply.next : work_.last + 1;
    rest = std::lower_bound(work_.buckets.begin(), rest, BucketOf(next));
    if (rest != work_.buckets.end() && *rest == BucketOf(next)) work_.first = next;
  }
  work_.buckets.erase(work_.buckets.begin(), rest);
  Continue();
}

void Pass::OnPushReply(const PushReply& reply) {
  if (Awaits(Step::kPush, reply.pass)) Continue();
}

}  // namespace podmirror::sync
