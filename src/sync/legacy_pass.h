// LegacyPass makes a peer that speaks only hellorpc.Sync equal to our cache: it reads all that the
// peer holds and sets what differs. Deletes cannot be told, and nothing is taken over from the
// peer: a value deleted here long ago would come back.
// Thread safety: none; belongs to the Node.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "cache/cache.h"
#include "sync/message.h"

namespace podmirror::sync {

class LegacyPass {
 public:
  explicit LegacyPass(std::uint64_t id) : id_(id) {}

  // The next request, once: Fetch, then Push after Push; nothing while a reply is awaited.
  std::optional<Message> Next(const Cache& cache, WallMs now);
  bool HasNext() const { return !awaiting_ && !done_; }

  void OnFetchReply(const FetchReply& reply);
  void OnPushReply(const PushReply& reply);

  bool done() const { return done_; }
  std::uint64_t sent() const { return sent_; }

 private:
  std::uint64_t id_;
  bool fetched_ = false;
  bool awaiting_ = false;
  bool done_ = false;
  std::uint32_t bucket_ = 0;  // the next one to compare
  std::uint64_t sent_ = 0;
  absl::flat_hash_map<std::uint64_t, std::uint64_t>
      theirs_;  // key hash to origin: the value's hash
};

}  // namespace podmirror::sync
