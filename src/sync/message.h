// What two daemons say to each other on one stream, as plain structs; wire/codec turns them into
// podmirror.v1.Peer frames and back, and refuses what breaks a bound.
//
// A stream is opened by the dialler to carry its own writes; the acceptor only answers:
//   dialler:  Hello      Batch  Heartbeat  SumsRequest  Offer       Push       Fetch
//   acceptor: HelloReply Ack    Heartbeat  Sums         OfferReply  PushReply  FetchReply
//   dialler:  Fragment       FragmentRequest
//   acceptor: FragmentReply  Fragment
// The acceptor keeps no state per request, so every request may be repeated.
//
// A large entry travels in fragments, one unanswered at a time in each direction, so that all else
// passes in between: no value holds up a heartbeat or a small write. That is so between daemons
// that both say kFragmentsFeature; with others every entry is part of a message as a whole.
// Thread safety: plain values.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cache/digest.h"
#include "cache/entry.h"

namespace podmirror::sync {

// The protocol version we speak; we talk with those of one before and after.
inline constexpr std::uint32_t kProtocolVersion = 1;
// No message is larger on the wire. A constant: it must not differ between peers.
inline constexpr std::size_t kMaxMessageBytes = 64 * 1024 * 1024;
// A larger entry is sent in fragments of this size.
inline constexpr std::size_t kFragmentBytes = 128 * 1024;
// Messages that carry entries are filled up to this, and hold at least one entry.
inline constexpr std::size_t kChunkBytes = 128 * 1024;
// But an OfferReply that leaves something over is filled up to this for a peer without
// kFragmentsFeature, which would take a smaller one for a broken one.
inline constexpr std::size_t kOldChunkBytes = 1024 * 1024;

// Buckets that one Offer of a pass compares.
inline constexpr std::size_t kBucketsPerOffer = 2048;
// What the listing of a large entry counts for in a message that is filled up.
inline constexpr std::size_t kLargeListedBytes = 32;
// Key listings in one Offer, wants, dead and large in one reply.
inline constexpr std::size_t kMaxListed = 16384;
// The longest packed form of an entry.
inline constexpr std::size_t kMaxPackedBytes = Entry::kMaxHeadBytes + kMaxKeyBytes + kMaxValueBytes;
// Nothing heard on a stream for so long: the other side is out of reach. The same on both sides and
// whatever is on its way: at 1 Mbit/s, our longest message takes half of it.
inline constexpr std::int64_t kSilenceMs = 4500;

// Bits of Introduction::features; unknown ones are ignored.
inline constexpr std::uint64_t kFragmentsFeature = 1 << 0;
inline constexpr std::uint64_t kConditionsFeature = 1 << 1;  // it gives verdicts
inline constexpr std::uint64_t kFeatures = kFragmentsFeature | kConditionsFeature;  // ours

// One run of one daemon: a random id, never 0. Its writes carry it as their origin.
using Incarnation = std::uint64_t;

// Who speaks, in both directions of a handshake.
struct Introduction {
  std::string name;
  std::string uid;
  std::string cluster;
  std::uint32_t protocol = kProtocolVersion;
  std::uint64_t features = 0;
  Incarnation incarnation = 0;
  WallMs process_started_ms = 0;
  bool synced = false;
  std::uint64_t entries = 0;
  std::uint64_t hlc = 0;
  std::uint64_t purge_floor = 0;
  WallMs wall = 0;  // what its own clock says now; 0 = it does not tell
};

struct Hello {
  Introduction self;
  std::string expected_uid;  // whom the dialler believes to reach; empty = it cannot know
};

enum class RefusalReason : std::uint8_t {
  kNone,
  kOtherCluster,
  kOtherUid,
  kProtocol,
  kClockSkew,
  kSelf,           // the dialler reached itself
  kUntrusted = 7,  // one of the two has no certificate of a peer
};

struct HelloReply {
  RefusalReason refusal = RefusalReason::kNone;
  std::string detail;  // for people; empty when accepted
  Introduction self;
  bool legacy = false;  // set by the transport for a peer that speaks hellorpc.Sync only
  // The acceptor's own link to the dialler is open: its writes reach the dialler.
  bool link_open = false;
};

// What a write on a condition replaced at its writer. It goes with the write to those who are to
// give a verdict on it: conditions.h.
struct Base {
  Version version;      // of what was stored, tombstones and expired ones included; {}: nothing
  bool absent = false;  // the condition was that nothing is live
  bool apart = false;   // the writer knows of pods that it does not count and that may still write
  friend bool operator==(const Base&, const Base&) = default;
};

// What a peer says of a write on a condition that it has merged.
struct Verdict {
  enum Kind : std::uint8_t {
    kUnknown,
    kFine,  // it was newer than what was there
    kLost,  // `winner`, a newer version, was there
  };
  Kind kind = kUnknown;
  Version winner{};
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

// The dialler's writes first_seq..last_seq in order: all of them but the large ones, which come as
// fragments.
struct Batch {
  std::uint64_t first_seq = 0;
  std::uint64_t last_seq = 0;
  std::vector<EntryRef> entries;
  // Of those that were written on a condition, by their places in `entries`, rising.
  std::vector<std::pair<std::uint32_t, Base>> bases{};
};

// Everything that batches brought up to seq has been merged, but for what is dead.
struct Ack {
  std::uint64_t seq = 0;
  // Places in the batch of what was dead (see OfferReply) though it would be alive: not taken.
  std::vector<std::uint32_t> dead{};
  // By places in the batch, rising; none that is unknown.
  std::vector<std::pair<std::uint32_t, Verdict>> verdicts{};
};

struct Heartbeat {
  std::uint64_t hlc = 0;
  std::uint64_t contact = 0;  // the least of its contacts with all of its peers: link_passes.h
  std::uint64_t bound = 0;    // how far its purge floor may go
  std::uint64_t purge_floor = 0;
  bool synced = false;
  bool link_open = false;  // as in HelloReply; set by the acceptor
  bool draining = false;   // about to end: what is handed to it is not handed over
  bool lost = false;       // has had no answer from discovery that lists it: cannot be first
  WallMs wall = 0;         // what its own clock says now; 0 = it does not tell
  // Where the dialler's unbroken run of writes began; another one than before: it has left some
  // out. 0 = it does not tell.
  std::uint64_t run_start = 0;
};

// In all messages of a repair pass, `pass` tells which request of which pass it belongs to; the
// answer echoes it.

// Asks for the 256 group sums (no group named), or for the bucket sums of the named groups.
struct SumsRequest {
  std::uint64_t pass = 0;
  std::vector<std::uint32_t> groups;
};

struct Sums {
  std::uint64_t pass = 0;
  std::vector<std::uint32_t> groups;  // echoed
  std::vector<std::uint64_t> sums;    // kGroups group sums, or kBucketsPerGroup for each group
};

struct Listed {
  std::uint64_t key_hash = 0;
  Version version;
  bool tombstone = false;
};

// All that the dialler holds in some buckets, as far as its key hash is in first..last.
struct Offer {
  std::uint64_t pass = 0;
  std::vector<std::uint32_t> buckets;  // rising
  std::vector<Listed> listed;
  std::uint64_t first = 0;
  std::uint64_t last = UINT64_MAX;
};

// One version of one key.
struct EntryId {
  std::uint64_t key_hash = 0;
  Version version;
  friend auto operator<=>(const EntryId&, const EntryId&) = default;  // NOLINT: no literal 0 here
};

struct OfferReply {
  std::uint64_t pass = 0;
  std::vector<EntryRef> entries;     // newer at the acceptor, or unknown to the dialler
  std::vector<std::uint64_t> wants;  // key hashes of what is newer at the dialler, rising
  // 0 = everything offered is dealt with. Else the message was full: from this key hash on it is to
  // be offered again, and nothing of that is in this message.
  std::uint64_t next = 0;
  // Key hashes of what was deleted, and the tombstone forgotten at the acceptor: whatever the
  // dialler holds of them at or below `floor`, the acceptor's purge floor, is dead. Rising.
  std::vector<std::uint64_t> dead;
  std::uint64_t floor = 0;
  // Newer at the acceptor as well, but large: to be asked for by FragmentRequest.
  std::vector<EntryId> large;
};

struct Push {
  std::uint64_t pass = 0;
  std::vector<EntryRef> entries;
};

struct PushReply {
  std::uint64_t pass = 0;
};

// A place in the order of all buckets, between entries of one bucket where a bucket is large.
struct Position {
  std::uint32_t bucket = 0;
  std::uint64_t after_key_hash = 0;  // 0 = from the bucket's start
  friend auto operator<=>(const Position&, const Position&) = default;
};

// Asks for the copy (GetAll), from a position on.
struct Fetch {
  Position from;
};

struct FetchReply {
  bool busy = false;  // serves enough joiners now; ask another or later
  std::vector<EntryRef> entries;
  Position next;
  bool done = false;
  std::string failure{};  // set by the transport for a legacy peer that cannot give what it holds
};

// Asks for a large entry from an offset on.
struct FragmentRequest {
  EntryId id;
  std::uint64_t offset = 0;
};

// A part of an entry's packed form. From the dialler it is answered by FragmentReply; from the
// acceptor it answers a FragmentRequest, for a newer version where that asked for is not there any
// more.
struct Fragment {
  EntryId id;
  std::uint64_t total = 0;  // size of the packed form; 0 = there is no such entry any more
  std::uint64_t offset = 0;
  std::string bytes;           // may be empty: the dialler only asks how far the acceptor has it
  bool write = false;          // one of the dialler's writes, that a batch left out
  std::optional<Base> base{};  // of a write on a condition
};

struct FragmentReply {
  EntryId id;
  // So far the acceptor has it, maybe more than what was sent on this stream; all of it: it has
  // been merged, or is dead.
  std::uint64_t next = 0;
  bool later = false;  // nothing was taken: there is no room, or another stream brings it now
  bool dead = false;   // all of it has come, and it is dead, though it would be alive: not taken
  Verdict verdict{};   // on a write on a condition, once all of it has come
};

using Message =
    std::variant<Hello, HelloReply, Batch, Ack, Heartbeat, SumsRequest, Sums, Offer, OfferReply,
                 Push, PushReply, Fetch, FetchReply, FragmentRequest, Fragment, FragmentReply>;

// Whether it travels in fragments.
inline bool IsLarge(const Entry& entry) { return entry.packed_size() > kFragmentBytes; }

// The entries that a message brings as a whole, or null.
inline const std::vector<EntryRef>* EntriesOf(const Message& message) {
  if (const auto* batch = std::get_if<Batch>(&message)) return &batch->entries;
  if (const auto* push = std::get_if<Push>(&message)) return &push->entries;
  if (const auto* reply = std::get_if<OfferReply>(&message)) return &reply->entries;
  if (const auto* reply = std::get_if<FetchReply>(&message)) return &reply->entries;
  return nullptr;
}

}  // namespace podmirror::sync
