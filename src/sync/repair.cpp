#include "sync/repair.h"

#include <algorithm>
#include <unordered_map>

namespace podmirror::sync {
namespace {

// Requests are kept small: they are made under the driver's lock.
constexpr std::size_t kGroupsPerRequest = 16;
constexpr std::size_t kListedPerOffer = 2048;
constexpr std::size_t kWantsPerPush = 512;

struct Keyed {
  std::uint64_t key_hash;
  EntryRef entry;
};

std::vector<Keyed> KeyedBucket(const Cache& cache, std::uint32_t bucket) {
  std::vector<EntryRef> entries = cache.Bucket(bucket);
  std::vector<Keyed> keyed;
  keyed.reserve(entries.size());
  for (EntryRef& entry : entries) {
    const std::uint64_t hash = entry->key_hash();
    keyed.push_back({hash, std::move(entry)});
  }
  return keyed;
}

}  // namespace

void Pass::Continue() {
  awaiting_ = false;
  if (!wants_.empty()) {
    step_ = Step::kPush;
  } else if (!buckets_.empty()) {
    step_ = Step::kOffer;
  } else if (!groups_.empty()) {
    step_ = Step::kBucketSums;
  } else {
    done_ = true;
  }
}

std::optional<Message> Pass::Next(const Cache& cache) {
  if (!HasNext()) return std::nullopt;
  awaiting_ = true;
  switch (step_) {
    case Step::kGroupSums:
      return SumsRequest{id_, {}};
    case Step::kBucketSums: {
      SumsRequest request{id_, {}};
      const std::size_t count = std::min(groups_.size(), kGroupsPerRequest);
      request.groups.assign(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(count));
      return request;
    }
    case Step::kOffer:
      return MakeOffer(cache);
    case Step::kPush:
      return MakePush(cache);
  }
  return std::nullopt;
}

Offer Pass::MakeOffer(const Cache& cache) {
  Offer offer{id_, {}, {}};
  for (const std::uint32_t bucket : buckets_) {
    const std::vector<EntryRef> entries = cache.Bucket(bucket);
    if (!offer.buckets.empty() && offer.listed.size() + entries.size() > kListedPerOffer) break;
    offer.buckets.push_back(bucket);
    for (const EntryRef& entry : entries) {
      offer.listed.push_back({entry->key_hash(), entry->version()});
    }
  }
  offered_ = offer.buckets.size();
  return offer;
}

Push Pass::MakePush(const Cache& cache) {
  Push push{id_, {}};
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
    for (const Keyed& candidate : keyed) {
      if (candidate.key_hash != hash) continue;
      bytes += candidate.entry->packed().size();
      push.entries.push_back(candidate.entry);
    }
  }
  sent_ += push.entries.size();
  return push;
}

void Pass::OnSums(const Sums& sums, const Cache& cache) {
  if (sums.pass != id_ || !awaiting_) return;
  if (step_ == Step::kGroupSums && sums.groups.empty() && sums.sums.size() == kGroups) {
    const auto ours = cache.group_sums();
    for (std::uint32_t group = 0; group < kGroups; ++group) {
      if (ours[group] != sums.sums[group]) groups_.push_back(group);
    }
    Continue();
  } else if (step_ == Step::kBucketSums && !sums.groups.empty() &&
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

void Pass::OnOfferReply(const OfferReply& reply) {
  if (reply.pass != id_ || !awaiting_ || step_ != Step::kOffer) return;
  received_ += reply.entries.size();
  wants_.assign(reply.wants.begin(), reply.wants.end());
  if (!reply.more) {
    buckets_.erase(buckets_.begin(), buckets_.begin() + static_cast<std::ptrdiff_t>(offered_));
  }
  Continue();
}

void Pass::OnPushReply(const PushReply& reply) {
  if (reply.pass != id_ || !awaiting_ || step_ != Step::kPush) return;
  Continue();
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

OfferReply AnswerOffer(const Cache& cache, const Offer& offer, std::uint64_t asker_floor) {
  OfferReply reply;
  reply.pass = offer.pass;
  std::unordered_map<std::uint64_t, Version> theirs;
  theirs.reserve(offer.listed.size());
  for (const Listed& listed : offer.listed) {
    Version& version = theirs[listed.key_hash];
    version = std::max(version, listed.version);
  }
  std::size_t bytes = 0;
  for (const std::uint32_t bucket : offer.buckets) {
    for (const Keyed& ours : KeyedBucket(cache, bucket)) {
      const auto found = theirs.find(ours.key_hash);
      const Version version = ours.entry->version();
      const bool unknown = found == theirs.end();
      const bool purged_there = unknown && ours.entry->tombstone() && version.hlc <= asker_floor;
      if (!purged_there && (unknown || version > found->second)) {
        if (bytes >= kChunkBytes) {
          reply.more = true;
        } else {
          bytes += ours.entry->packed().size();
          reply.entries.push_back(ours.entry);
        }
      }
      if (!unknown && version >= found->second) theirs.erase(found);
    }
  }
  // What is left in `theirs` is unknown here or older here.
  reply.wants.reserve(std::min(theirs.size(), kMaxListed));
  for (const auto& [key_hash, version] : theirs) {
    if (reply.wants.size() == kMaxListed) {
      reply.more = true;
      break;
    }
    reply.wants.push_back(key_hash);
  }
  std::sort(reply.wants.begin(), reply.wants.end());
  return reply;
}

FetchReply AnswerFetch(const Cache& cache, const Fetch& fetch) {
  FetchReply reply;
  std::size_t bytes = 0;
  Position at = fetch.from;
  for (; at.bucket < kBuckets && bytes < kChunkBytes; at = {at.bucket + 1, 0}) {
    std::vector<Keyed> keyed = KeyedBucket(cache, at.bucket);
    if (keyed.empty()) continue;
    std::sort(keyed.begin(), keyed.end(),
              [](const Keyed& a, const Keyed& b) { return a.key_hash < b.key_hash; });
    for (std::size_t i = 0; i < keyed.size(); ++i) {
      if (at.after_key_hash != 0 && keyed[i].key_hash <= at.after_key_hash) continue;
      if (bytes >= kChunkBytes && keyed[i].key_hash != keyed[i - 1].key_hash) {
        reply.next = {at.bucket, keyed[i - 1].key_hash};
        return reply;
      }
      bytes += keyed[i].entry->packed().size();
      reply.entries.push_back(keyed[i].entry);
    }
  }
  reply.next = at;
  reply.done = at.bucket >= kBuckets;
  return reply;
}

Message Answer(const Cache& cache, const Question& question) {
  if (const auto* sums = std::get_if<SumsRequest>(&question.request)) {
    return AnswerSums(cache, *sums);
  }
  if (const auto* offer = std::get_if<Offer>(&question.request)) {
    return AnswerOffer(cache, *offer, question.asker_floor);
  }
  FetchReply reply = AnswerFetch(cache, std::get<Fetch>(question.request));
  if (reply.done) {
    reply.purge_floor = question.purge_floor;
    reply.contacts = question.contacts;
  }
  return reply;
}

}  // namespace podmirror::sync
