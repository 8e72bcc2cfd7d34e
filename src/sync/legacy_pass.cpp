#include "sync/legacy_pass.h"

#include <algorithm>
#include <utility>

#include "sync/keyed.h"

namespace podmirror::sync {
namespace {

constexpr std::uint32_t kBucketsPerPush = 1024;

}  // namespace

std::optional<Message> LegacyPass::Next(const Cache& cache, WallMs now) {
  if (!HasNext()) return std::nullopt;
  awaiting_ = true;
  if (!fetched_) return Fetch{};
  return MakePush(cache, now);
}

Push LegacyPass::MakePush(const Cache& cache, WallMs now) {
  Push push{id_, {}};
  std::size_t bytes = 0;
  const std::uint32_t end = std::min(at_.bucket + kBucketsPerPush, kBuckets);
  for (; at_.bucket < end && bytes < kBytesPerPush; at_ = {cache.NextStored(at_.bucket + 1), 0}) {
    const std::uint64_t after = at_.after_key_hash;
    for (Keyed& ours : KeyedBucket(cache, at_.bucket)) {
      const Entry& entry = *ours.entry;
      if (after != 0 && ours.key_hash <= after) continue;
      if (entry.tombstone() || entry.expired(now) || !IsUtf8(entry.value())) continue;
      if (theirs_.contains(EntryHash(ours.key_hash, LegacyVersion(entry.value())))) continue;
      if (bytes >= kBytesPerPush && ours.key_hash != at_.after_key_hash) return push;
      at_.after_key_hash = ours.key_hash;
      bytes += entry.packed_size();
      ++sent_;
      push.entries.push_back(std::move(ours.entry));
    }
  }
  return push;
}

void LegacyPass::OnFetchReply(const FetchReply& reply) {
  if (fetched_ || !awaiting_) return;
  const std::size_t count = std::min(reply.entries.size(), kMaxRemembered);
  theirs_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    theirs_.insert(EntryHash(reply.entries[i]->key_hash(), reply.entries[i]->version()));
  }
  fetched_ = true;
  awaiting_ = false;
}

void LegacyPass::OnPushReply(const PushReply& reply) {
  if (reply.pass != id_ || !fetched_ || !awaiting_) return;
  awaiting_ = false;
  done_ = at_.bucket >= kBuckets;
}

}  // namespace podmirror::sync
