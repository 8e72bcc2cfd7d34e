#include "sync/repair.h"

#include <algorithm>
#include <span>

#include "base/processor.h"

namespace podmirror::sync {
namespace {

// Requests are kept small: they are made under the driver's lock.
constexpr std::size_t kGroupsPerRequest = 16;
constexpr std::size_t kBucketsPerOffer = 2048;
constexpr std::size_t kListedPerOffer = 2048;
constexpr std::size_t kWantsPerPush = 512;
// What a single bucket of a huge cache takes: half of what a message may list, for it has to fit
// into kSilenceMs on a slow network as well.
constexpr std::size_t kListedPerBucket = kMaxListed / 2;
// What the listing of a large entry counts for in a message that is filled up.
constexpr std::size_t kLargeListedBytes = 32;
// Of a chunk of a copy: whoever waits for this processor goes first, as when the joiner merges it.
constexpr std::size_t kCopiedInOneGo = 32 * 1024;
// The number of the request stands above the id of the pass.
constexpr std::uint64_t kNextRequest = std::uint64_t{1} << 32;

constexpr std::uint64_t FirstHashOf(std::uint32_t bucket) {
  return static_cast<std::uint64_t>(bucket) << 48;
}
constexpr std::uint64_t LastHashOf(std::uint32_t bucket) {
  return FirstHashOf(bucket) | ((std::uint64_t{1} << 48) - 1);
}

// Those of `items` (Keyed or Listed, by rising key hash) whose key hash is in first..last.
template <typename T>
std::span<const T> Within(const std::vector<T>& items, std::uint64_t first, std::uint64_t last) {
  const auto begin = std::lower_bound(
      items.begin(), items.end(), first,
      [](const T& item, std::uint64_t key_hash) { return item.key_hash < key_hash; });
  const auto end = std::upper_bound(
      begin, items.end(), last,
      [](std::uint64_t key_hash, const T& item) { return key_hash < item.key_hash; });
  return {begin, end};
}

// Takes the items with this key hash off the front of `items`: one, but for colliding keys.
template <typename T>
std::span<const T> TakeGroup(std::span<const T>* items, std::uint64_t key_hash) {
  std::size_t size = 0;
  while (size < items->size() && (*items)[size].key_hash == key_hash) ++size;
  const std::span<const T> group = items->first(size);
  *items = items->subspan(size);
  return group;
}

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

struct Difference {
  bool send = false;  // ours to the asker
  bool want = false;  // theirs
  bool dead = false;  // theirs
};

// Compares what both sides hold of one key hash. A tombstone that the other side would purge is
// still of use where it kills an older entry, and only there.
Difference Compare(std::span<const Keyed> ours, std::span<const Listed> theirs,
                   std::uint64_t our_floor, std::uint64_t asker_floor) {
  if (ours.size() > 1 || theirs.size() > 1) {
    // Several keys share the hash, and nobody can tell which is which.
    const bool equal =
        std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                   [](const Keyed& a, const Listed& b) { return a.entry->version() == b.version; });
    return {!equal, !equal && !theirs.empty(), false};
  }
  if (theirs.empty()) {
    return {ours[0].entry->version().hlc > asker_floor, false, false};
  }
  if (ours.empty()) {
    const bool above = theirs[0].version.hlc > our_floor;
    return {false, above, !above && !theirs[0].tombstone};
  }
  const Version version = ours[0].entry->version();
  return {version > theirs[0].version, version < theirs[0].version, false};
}

}  // namespace

std::vector<Keyed> KeyedBucket(const Cache& cache, std::uint32_t bucket) {
  std::vector<EntryRef> entries = cache.Bucket(bucket);
  std::vector<Keyed> keyed;
  keyed.reserve(entries.size());
  for (EntryRef& entry : entries) {
    const std::uint64_t hash = entry->key_hash();
    keyed.push_back({hash, std::move(entry)});
  }
  std::sort(keyed.begin(), keyed.end(), [](const Keyed& a, const Keyed& b) {
    return a.key_hash != b.key_hash ? a.key_hash < b.key_hash
                                    : a.entry->version() < b.entry->version();
  });
  return keyed;
}

void Pass::Continue() {
  awaiting_ = false;
  request_ += kNextRequest;
  if (!wants_.empty()) {
    step_ = Step::kPush;
  } else if (!large_.done()) {
    step_ = Step::kLarge;
  } else if (!buckets_.empty()) {
    step_ = Step::kOffer;
  } else if (!groups_.empty()) {
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
      const std::size_t count = std::min(groups_.size(), kGroupsPerRequest);
      request.groups.assign(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(count));
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
  offer.first = first_;
  for (const std::uint32_t bucket : buckets_) {
    std::vector<Listed> listed = ListBucket(cache, bucket, first_);
    const bool full = offer.listed.size() + listed.size() > kListedPerOffer ||
                      offer.buckets.size() == kBucketsPerOffer;
    if (full && !offer.buckets.empty()) break;
    offer.buckets.push_back(bucket);
    if (listed.size() > kListedPerBucket) offer.last = CutListing(&listed);
    offer.listed.insert(offer.listed.end(), listed.begin(), listed.end());
  }
  offered_ = offer.buckets.size();
  last_ = offer.last;
  return offer;
}

Push Pass::MakePush(const Cache& cache) {
  Push push{request_, {}};
  std::size_t bytes = 0;
  std::size_t taken = 0;
  std::uint32_t bucket = kBuckets;
  std::vector<Keyed> keyed;
  while (!wants_.empty() && taken < kWantsPerPush && bytes < kChunkBytes) {
    const std::uint64_t hash = wants_.front();
    wants_.pop_front();
    ++taken;
    if (BucketOf(hash) != bucket) {
      bucket = BucketOf(hash);
      keyed = KeyedBucket(cache, bucket);
    }
    for (const Keyed& wanted : Within(keyed, hash, hash)) {
      if (fragments_ && IsLarge(*wanted.entry)) {
        large_.Push({hash, wanted.entry->version()});
        continue;
      }
      bytes += wanted.entry->packed().size();
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
      if (ours[group] != sums.sums[group]) groups_.push_back(group);
    }
    Continue();
  } else if (Awaits(Step::kBucketSums, sums.pass) && !sums.groups.empty() &&
             sums.groups.size() <= groups_.size() &&
             std::equal(sums.groups.begin(), sums.groups.end(), groups_.begin()) &&
             sums.sums.size() == sums.groups.size() * kBucketsPerGroup) {
    for (std::size_t i = 0; i < sums.groups.size(); ++i) {
      const std::uint32_t group = groups_.front();
      groups_.pop_front();
      const auto ours = cache.group_bucket_sums(group);
      for (std::uint32_t b = 0; b < kBucketsPerGroup; ++b) {
        if (ours[b] != sums.sums[i * kBucketsPerGroup + b]) {
          buckets_.push_back(group * kBucketsPerGroup + b);
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
    const auto end = buckets_.begin() + static_cast<std::ptrdiff_t>(offered_);
    return key_hash >= first_ && key_hash <= last_ &&
           std::binary_search(buckets_.begin(), end, BucketOf(key_hash));
  };
  const auto dealt_with = [&](std::uint64_t key_hash) {
    return offered(key_hash) && (reply.next == 0 || key_hash < reply.next);
  };
  std::size_t bytes = reply.large.size() * kLargeListedBytes;
  for (const EntryRef& entry : reply.entries) {
    if (!dealt_with(entry->key_hash())) return false;
    bytes += entry->packed().size();
  }
  for (const EntryId& id : reply.large) {
    if (!dealt_with(id.key_hash)) return false;
  }
  if (!std::all_of(reply.wants.begin(), reply.wants.end(), dealt_with)) return false;
  if (!std::all_of(reply.dead.begin(), reply.dead.end(), dealt_with)) return false;
  if (reply.floor > begun_hlc_) return false;  // we have seen its clock, and its floor is older
  return reply.next == 0 || (bytes >= kChunkBytes && offered(reply.next));
}

void Pass::OnOfferReply(const OfferReply& reply, Cache& cache, WallMs now) {
  if (!Awaits(Step::kOffer, reply.pass)) return;
  if (!Plausible(reply)) {
    broken_ = true;
    return;
  }
  received_ += reply.entries.size();
  // The answerer's floor may have risen since the pass began. What lies between would be dead, too,
  // but this pass does not make that floor ours, and an older tombstone could be stored after it.
  dropped_ += cache.Drop(reply.dead, std::min(reply.floor, peer_floor_), now);
  wants_.assign(reply.wants.begin(), reply.wants.end());
  large_.Pull(reply.large);
  auto rest = buckets_.begin() + static_cast<std::ptrdiff_t>(offered_);
  first_ = 0;
  if (reply.next != 0 || last_ != UINT64_MAX) {
    const std::uint64_t next = reply.next != 0 ? reply.next : last_ + 1;
    rest = std::lower_bound(buckets_.begin(), rest, BucketOf(next));
    if (rest != buckets_.end() && *rest == BucketOf(next)) first_ = next;
  }
  buckets_.erase(buckets_.begin(), rest);
  Continue();
}

void Pass::OnPushReply(const PushReply& reply) {
  if (Awaits(Step::kPush, reply.pass)) Continue();
}

Sums AnswerSums(const Cache& cache, const SumsRequest& request) {
  Sums sums{request.pass, request.groups, {}};
  if (request.groups.empty()) {
    const auto groups = cache.group_sums();
    sums.sums.assign(groups.begin(), groups.end());
    return sums;
  }
  sums.sums.reserve(request.groups.size() * kBucketsPerGroup);
  for (const std::uint32_t group : request.groups) {
    const auto buckets = cache.group_bucket_sums(group);
    sums.sums.insert(sums.sums.end(), buckets.begin(), buckets.end());
  }
  return sums;
}

OfferReply AnswerOffer(const Cache& cache, const Offer& offer, const Asker& asker) {
  const std::size_t full = asker.fragments ? kChunkBytes : kOldChunkBytes;
  OfferReply reply;
  reply.pass = offer.pass;
  reply.floor = cache.purge_floor();
  std::vector<Listed> listed = offer.listed;
  std::sort(listed.begin(), listed.end(), [](const Listed& a, const Listed& b) {
    return a.key_hash != b.key_hash ? a.key_hash < b.key_hash : a.version < b.version;
  });
  std::size_t bytes = 0;
  for (const std::uint32_t bucket : offer.buckets) {
    const std::vector<Keyed> keyed = KeyedBucket(cache, bucket);
    auto ours = Within(keyed, offer.first, offer.last);
    auto theirs = Within(listed, std::max(offer.first, FirstHashOf(bucket)),
                         std::min(offer.last, LastHashOf(bucket)));
    while (!ours.empty() || !theirs.empty()) {
      const std::uint64_t hash = std::min(ours.empty() ? UINT64_MAX : ours[0].key_hash,
                                          theirs.empty() ? UINT64_MAX : theirs[0].key_hash);
      if (bytes >= full) {
        reply.next = hash;
        return reply;
      }
      const auto our_group = TakeGroup(&ours, hash);
      const auto their_group = TakeGroup(&theirs, hash);
      const Difference difference = Compare(our_group, their_group, reply.floor, asker.floor);
      if (difference.want) reply.wants.push_back(hash);
      if (difference.dead) reply.dead.push_back(hash);
      if (!difference.send) continue;
      for (const Keyed& newer : our_group) {
        if (asker.fragments && IsLarge(*newer.entry)) {
          bytes += kLargeListedBytes;
          reply.large.push_back({hash, newer.entry->version()});
          continue;
        }
        bytes += newer.entry->packed().size();
        reply.entries.push_back(newer.entry);
      }
    }
  }
  return reply;
}

FetchReply AnswerFetch(const Cache& cache, const Fetch& fetch, const Asker& asker) {
  FetchReply reply;
  std::size_t bytes = 0;
  std::size_t yield_at = 0;
  Position at = fetch.from;
  for (; at.bucket < kBuckets && bytes < kChunkBytes; at = {cache.NextStored(at.bucket + 1), 0}) {
    if (bytes >= yield_at) {
      yield_at = bytes + kCopiedInOneGo;
      YieldProcessor();
    }
    const std::vector<Keyed> keyed = KeyedBucket(cache, at.bucket);
    for (std::size_t i = 0; i < keyed.size(); ++i) {
      if (at.after_key_hash != 0 && keyed[i].key_hash <= at.after_key_hash) continue;
      if (bytes >= kChunkBytes && keyed[i].key_hash != keyed[i - 1].key_hash) {
        reply.next = {at.bucket, keyed[i - 1].key_hash};
        return reply;
      }
      if (asker.fragments && IsLarge(*keyed[i].entry)) continue;
      bytes += keyed[i].entry->packed().size();
      reply.entries.push_back(keyed[i].entry);
    }
  }
  reply.next = at;
  reply.done = at.bucket >= kBuckets;
  return reply;
}

Fragment AnswerFragment(const Cache& cache, const FragmentRequest& request) {
  EntryRef entry = FindVersion(cache, request.id);
  if (!entry) return {request.id, 0, 0, {}, false};
  const std::uint64_t total = entry->packed().size();
  const bool same = entry->version() == request.id.version && request.offset < total;
  const std::uint64_t offset = same ? request.offset : 0;
  return Cut({std::move(entry), offset, std::min<std::uint64_t>(total - offset, kFragmentBytes)});
}

Message Answer(const Cache& cache, const Question& question) {
  struct Answers {
    const Cache& cache;
    const Asker& asker;
    Message operator()(const SumsRequest& request) const { return AnswerSums(cache, request); }
    Message operator()(const Offer& offer) const { return AnswerOffer(cache, offer, asker); }
    Message operator()(const Fetch& fetch) const { return AnswerFetch(cache, fetch, asker); }
    Message operator()(const FragmentRequest& r) const { return AnswerFragment(cache, r); }
    Message operator()(const Slice& slice) const { return Cut(slice); }
  };
  return std::visit(Answers{cache, question.asker}, question.request);
}

}  // namespace podmirror::sync
