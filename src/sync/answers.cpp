#include "sync/answers.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "base/processor.h"
#include "sync/keyed.h"

namespace podmirror::sync {
namespace {

// Of a chunk of a copy: whoever waits for this processor goes first, as when the joiner merges it.
constexpr std::size_t kCopiedInOneGo = 32 * 1024;

constexpr std::uint64_t FirstHashOf(std::uint32_t bucket) {
  return static_cast<std::uint64_t>(bucket) << 48;
}
constexpr std::uint64_t LastHashOf(std::uint32_t bucket) {
  return FirstHashOf(bucket) | ((std::uint64_t{1} << 48) - 1);
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
    if (LastHashOf(bucket) < offer.first || FirstHashOf(bucket) > offer.last) continue;
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
        bytes += newer.entry->packed_size();
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
      bytes += keyed[i].entry->packed_size();
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
  const std::uint64_t total = entry->packed_size();
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
