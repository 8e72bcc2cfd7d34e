// A Follower keeps a cache equal to what a daemon holds, from outside of the fleet: like a peer
// that only reads (proto/podmirror/v1/follow.proto). It tells what to ask, and is told what comes;
// who carries that is client/mirror.h.
//
// Of everything, on each stream of changes: the first State, then a copy where it holds nothing
// yet, else a pass (sync/pass.h) that brings what differs. From then on the changes keep it
// complete. It goes on at any daemon, because the digests decide what has to come.
//
// What it holds newer than the daemon, or what the daemon does not hold at all, came from another
// daemon: it may be on its way to this one, or it is lost with that one. It is kept until kAheadMs
// after the stream began, so that nothing goes back while daemons catch up. Then it is dropped: the
// daemon decides.
//
// Of a part, each stream begins with the state of that part. What is newer in it is taken at once;
// when it is complete, what it did not tell goes, and what it told in an older version takes the
// place of the newer one.
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
  std::optional<std::uint64_t> digest{};  // nothing: not known
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

  // All that the daemon held at as_of() is here, or newer, and the changes since are told.
  bool complete() const { return complete_; }
  bool ever_complete() const { return as_of_ >= 0; }
  bool copying() const { return copying_; }
  SteadyMs as_of() const { return as_of_; }
  // The last digest told was the same as ours. False for a part.
  bool equal() const { return equal_; }
  const DaemonState& daemon() const { return daemon_; }
  std::uint64_t received() const { return received_; }  // entries, over all streams
  std::uint64_t streams() const { return streams_; }    // that told something

 private:
  enum class Asked : std::uint8_t { kNothing, kCopy, kLarge, kPass };

  // An entry may be on its way to the daemon for so long.
  static constexpr std::int64_t kAheadMs = 10'000;
  // By so much the least lag rises with each State: clocks do not run alike, and some are stopped
  // with their machine.
  static constexpr SteadyMs kLagRiseMs = 5;
  static constexpr std::int64_t kFirstRetryMs = 1'000;
  static constexpr std::int64_t kLastRetryMs = 60'000;
  static constexpr std::size_t kMaxLarge = 4096;

  // What a State was told as of, when all that came before it has been taken.
  struct Due {
    SteadyMs as_of = 0;
    std::size_t large = 0;  // so many large entries are to be taken yet
  };

  Status OnState(const DaemonState& state, Now now);
  void NoteState(const DaemonState& state, SteadyMs now);
  SteadyMs told_at() const { return daemon_.steady + lag_; }
  std::size_t large_left() const { return large_.size() + (asked_large_ ? 1 : 0); }
  void OnLargeTaken();
  void CompareDigests(SteadyMs now);
  void Missed();

  Status OnPart(const Changes& changes, Now now);
  void BeginPart();
  void ReplacePart(Now now);

  sync::Offer OfferLarge();
  std::optional<sync::Message> NextOfPass(Now now);
  void OnAhead(const std::vector<EntryRef>& entries, Now now);
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
  SteadyMs opened_at_ = 0;   // the stream
  SteadyMs began_at_ = 0;    // the same; then the copy or the pass
  bool told_ = false;        // something by this stream
  bool kept_ahead_ = false;  // something that the daemon may get within kAheadMs
  SteadyMs lag_ = 0;  // our clock less the daemon's, when a State was on its way least long lately
  std::optional<Due> due_;
  bool equal_ = false;
  SteadyMs compared_at_ = 0;  // digests

  bool copying_ = false;
  bool copy_broken_ = false;  // a stream was lost, or changes were left out, since the copy began
  bool copied_ = false;       // its last part waits to be merged
  sync::Position position_;
  std::vector<EntryRef> unmerged_;

  std::unique_ptr<Cache> part_;    // the state of a part that is coming
  std::uint64_t older_bytes_ = 0;  // of its entries that the cache has in a newer version

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
  std::uint64_t streams_ = 0;
};

}  // namespace podmirror::follow
