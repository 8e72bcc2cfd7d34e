// A Follower keeps a cache equal to what a daemon holds, from outside of the fleet: like a peer
// that only reads (proto/podmirror/v1/follow.proto). It tells what to ask, and is told what comes;
// who carries that is client/mirror.h.
//
// Of everything, on each stream of changes: the first State, then a copy where it holds nothing
// yet, else a pass (sync/pass.h) that brings what differs. From then on the changes keep it
// complete. It goes on at any daemon, because the digests decide what has to come.
//
// What it holds newer than the daemon, or what the daemon does not hold at all, came from another
// daemon: it may be on its way to this one, or it is lost with that one. It is kept until it is
// kAheadMs old by its version, so that nothing goes back while daemons catch up. Then it is
// dropped: the daemon decides.
//
// Of a part, each stream begins with the state of that part. It is kept beside the copy until it is
// complete, and then takes its place.
// Thread safety: none, but the cache may be read at any time.
// Invariants: (1) complete() after a copy, a pass or a state that began on the present stream, when
//                 no change was left out since.
//             (2) one request at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "cache/cache.h"
#include "sync/message.h"
#include "sync/pass.h"

namespace podmirror::follow {

// What a daemon says of what it holds.
struct DaemonState {
  std::uint64_t incarnation = 0;
  std::uint64_t digest = 0;  // 0: not known
  std::uint64_t purge_floor = 0;
  WallMs expired_by = 0;
  WallMs wall = 0;
  SteadyMs steady = 0;
};

// One message of the stream of changes, with the meaning that follow.proto gives its fields.
struct Changes {
  std::vector<EntryRef> entries{};
  std::vector<sync::EntryId> large{};
  bool missed = false;
  std::optional<DaemonState> state{};
  bool synced = false;
};

enum class Scope : std::uint8_t { kWhole, kPart };

class Follower {
 public:
  // max_bytes: of memory of entries. The cache must outlive this, and be changed by nobody else.
  Follower(Cache& cache, Scope scope, std::uint64_t max_bytes);

  // A stream of changes begins.
  void Opened(Now now);
  // It has ended, or a request has failed.
  void Lost();

  // kExhausted when there is no room, kInvalid when the daemon is broken: the stream is of no use.
  Status OnChanges(const Changes& changes, Now now);

  // The next request, once: Fetch, SumsRequest or Offer. Nothing while one is under way, or when
  // there is nothing to be asked.
  std::optional<sync::Message> Next(Now now);
  // Its answer: FetchReply, Sums or OfferReply. kInvalid when it is none, or one with which this
  // would never end: the daemon is broken, as far as we are concerned. kExhausted as above.
  Status OnReply(sync::Message reply, Now now);
  // Merges what OnReply has put aside: so the next request is on its way meanwhile.
  void Merge();

  // All that the daemon held at as_of() is here, or newer.
  bool complete() const { return complete_ && large_.empty() && !asked_large_; }
  bool ever_complete() const { return as_of_ >= 0; }
  SteadyMs as_of() const { return as_of_; }
  // The last digest told was the same as ours. False for a part.
  bool equal() const { return equal_; }
  const DaemonState& daemon() const { return daemon_; }
  std::uint64_t received() const { return received_; }  // entries, over all streams

 private:
  enum class Asked : std::uint8_t { kNothing, kCopy, kLarge, kPass };

  // An entry that is no older, by its version, may be on its way to the daemon.
  static constexpr std::int64_t kAheadMs = 10'000;
  static constexpr std::int64_t kFirstRetryMs = 1'000;
  static constexpr std::int64_t kLastRetryMs = 60'000;
  static constexpr std::size_t kMaxLarge = 4096;

  Status OnState(const DaemonState& state, Now now);
  void CompareDigests(SteadyMs now);
  void Missed();

  Status OnPart(const Changes& changes, Now now);
  void BeginPart();
  void ReplacePart(Now now);

  sync::Offer OfferLarge();
  std::optional<sync::Message> NextOfPass(Now now);
  void OnAhead(const std::vector<EntryRef>& entries, WallMs now);
  void Completed(SteadyMs began);

  Status OnCopied(sync::FetchReply& reply);
  Status OnOffered(const sync::OfferReply& reply, Asked asked, Now now);

  std::uint64_t memory_bytes() const;
  Status CheckRoom(const std::vector<EntryRef>& entries) const;
  Status NoRoom() const;
  // Merges the entries for which there is room. False: some were left out.
  bool MergeFitting(const std::vector<EntryRef>& entries);

  Cache& cache_;
  const Scope scope_;
  const std::uint64_t max_bytes_;

  bool open_ = false;  // a stream, and its first State has come
  Asked asked_ = Asked::kNothing;
  DaemonState daemon_;
  bool complete_ = false;
  SteadyMs as_of_ = -1;
  SteadyMs began_at_ = 0;  // the stream; then the copy or the pass
  SteadyMs lag_ = 0;       // our clock less the daemon's, when a State was on its way least long
  bool equal_ = false;
  SteadyMs compared_at_ = 0;  // digests

  bool copying_ = false;
  bool copy_broken_ = false;  // a stream was lost, or changes were left out, since the copy began
  bool copied_ = false;       // its last part waits to be merged
  sync::Position position_;
  std::vector<EntryRef> unmerged_;

  std::unique_ptr<Cache> part_;     // the state of a part that is coming
  std::uint64_t shared_bytes_ = 0;  // of its entries that the cache has, too

  std::deque<std::uint64_t> large_;  // key hashes
  std::optional<std::uint64_t> asked_large_;
  std::optional<sync::Pass> pass_;
  std::unordered_map<std::uint64_t, Version> offered_;  // by the last Offer of the pass
  bool left_out_ = false;                               // by the pass, for want of room
  std::uint64_t passes_ = 0;
  bool pass_wanted_ = false;
  bool pass_broken_ = false;  // changes were left out since it began
  SteadyMs retry_at_ = 0;     // not before that for a digest that differs
  std::int64_t retry_ms_ = kFirstRetryMs;
  std::uint64_t received_ = 0;
};

}  // namespace podmirror::follow
