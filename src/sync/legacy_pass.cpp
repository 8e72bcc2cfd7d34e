#include "sync/legacy_pass.h"

#include <algorithm>

namespace podmirror::sync {
namespace {

// Made under the driver's lock, so not too much at a time.
constexpr std::uint32_t kBucketsPerPush = 1024;
constexpr std::size_t kBytesPerPush = 256 * 1024;

}  // namespace

std::optional<Message> LegacyPass::Next(const Cache& cache, WallMs now) {
  if (!HasNext()) return std::nullopt;
  awaiting_ = true;
  if (!fetched_) return Fetch{};
  Push push{id_, {}};
  std::size_t bytes = 0;
  const std::uint32_t end = std::min(bucket_ + kBucketsPerPush, kBuckets);
  for (; bucket_ < end && bytes < kBytesPerPush; ++bucket_) {
    for (EntryRef& entry : cache.Bucket(bucket_)) {
      if (entry->tombstone() || entry->expired(now) || !IsUtf8(entry->value())) continue;
      const auto found = theirs_.find(entry->key_hash());
      if (found != theirs_.end() && found->second == LegacyVersion(entry->value()).origin) continue;
      bytes += entry->packed().size();
      push.entries.push_back(std::move(entry));
    }
  }
  sent_ += push.entries.size();
  return push;
}

void LegacyPass::OnFetchReply(const FetchReply& reply) {
  if (fetched_ || !awaiting_) return;
  for (const EntryRef& entry : reply.entries) {
    theirs_[entry->key_hash()] = entry->version().origin;
  }
  fetched_ = true;
  awaiting_ = false;
}

void LegacyPass::OnPushReply(const PushReply& reply) {
  if (reply.pass != id_ || !fetched_ || !awaiting_) return;
  awaiting_ = false;
  done_ = bucket_ >= kBuckets;
}

}  // namespace podmirror::sync
