// LegacyPass makes a peer that speaks only hellorpc.Sync equal to our cache: it reads all that the
// peer holds and sets what differs. Deletes cannot be told, and nothing is taken over from the
// peer: a value deleted here long ago would come back.
// Thread safety: none; belongs to the Node.
// Invariants: (1) theirs_ holds at most kMaxRemembered values, whatever the peer sends.
//             (2) a Push holds at most kBytesPerPush of entries and the one that exceeds it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "cache/cache.h"
#include "sync/message.h"

namespace podmirror::sync {

// Requests stay below gRPC's default limit of 4 MiB, which such services have.
inline constexpr std::size_t kLegacyRequestBytes = 3 * 1024 * 1024;

class LegacyPass {
 public:
  // Made under the driver's lock, so not too much at a time.
  static constexpr std::size_t kBytesPerPush = 256 * 1024;
  // 40 MiB of memory. What such a peer holds beyond that is set anew by each pass.
  static constexpr std::size_t kMaxRemembered = 3'500'000;

  explicit LegacyPass(std::uint64_t id) : id_(id) {}

  // The next request, once: Fetch, then Push after Push; nothing while a reply is awaited.
  std::optional<Message> Next(const Cache& cache, WallMs now);
  bool HasNext() const { return !awaiting_ && !done_; }

  void OnFetchReply(const FetchReply& reply);
  void OnPushReply(const PushReply& reply);

  bool done() const { return done_; }
  std::uint64_t sent() const { return sent_; }
  std::size_t remembered() const { return theirs_.size(); }

 private:
  Push MakePush(const Cache& cache, WallMs now);

  std::uint64_t id_;
  bool fetched_ = false;
  bool awaiting_ = false;
  bool done_ = false;
  Position at_;  // where to go on comparing
  std::uint64_t sent_ = 0;
  absl::flat_hash_set<std::uint64_t> theirs_;  // EntryHash of their values, as of legacy versions
};

}  // namespace podmirror::sync
