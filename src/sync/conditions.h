// Conditions is what a pod remembers of writes on a condition, its own and those that it merged, so
// that its verdicts keep this promise:
//
//   Of two writes on a condition of one key that are both answered 200, the greater has seen the
//   lesser: its base is at or above it. So of all that have one base, one at most is answered 200.
//
// A write v on a condition is checked and merged at its writer W in one step (Cache::MergeIf). It
// goes to the peers with its base: what it replaced there. Each peer gives a verdict
// (Writes::Judge):
//   lost(w)  a greater w was there when it merged v
//   fine     v was newer than what was there, or this had been written on v; and the peer has told
//            nobody 200 for what v missed
//   unknown  anything else: v was dead there; it does not know conditions
// and when it takes v, or has it already by a pass, it gives up those of its own that v has missed
// and that still wait: base(v) < own < v. W answers 409 at the first lost, 200 when all whom it
// counts said fine, else 202. Who leaves the set before it has said something stays pending.
//
// Proof. Let v1 < v2 be both answered 200, by W and Q, and base(v2) < v1. W is not Q: v2 was
// checked where v1 or something newer was stored.
//   1. W counted Q. If Q had v2 when it merged v1, it said lost, and W 409. So Q had v1 when it
//      checked v2, and the condition failed.
//   2. Q counted W, this very process, and W not Q. W had v1 when it merged v2: else W's clock
//      would have seen v2, and v1 would be greater. So W gave up v1 (409), or had told 200, and
//      said unknown (Q: 202).
//   3. Neither counted the other: each took the other for gone or going, one knew nothing of the
//      other yet, or W ended before v2, and what it was told 200 for is not where Q asks. A third
//      pod R that both counted had v1 when it merged v2, or it said lost to W. A write is `apart`
//      where its writer knows of pods that terminate (Base::apart) or where R does not list the
//      writer. If v2 is, R says unknown wherever v2 has missed what was there; if v1 was, R treats
//      it as told 200 by itself. Without such an R, and where none of the three knows of anybody's
//      leaving, there is no promise.
// A v that comes behind w, which was written on it (BuiltOn), is as good as one that came before:
// each step from v to w was itself fine here. So of ours that lie between two steps, those that
// waited were given up, and none was told 200. That is said of no v that is apart.
//
// "Seen" goes by versions. Where v2's condition was that nothing is live, and nothing was live at
// the one who gives the verdict (a tombstone, expired), v2 has missed nothing: what stood under it
// was deleted or has expired.
//
// What is remembered is bounded. What falls out counts by its hlc: whatever has a base at or below
// `floor_` may have missed it. So does what a former run of this pod told: floor_ begins with the
// hlc at which we became synced. `since` keeps that from mattering where the history of the key is
// known.
//
// Thread safety: none; belongs to the Node.
//
// Invariant: what was told 200 here is in keys_, or its hlc is at most floor_.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/container/flat_hash_map.h"
#include "cache/entry.h"

namespace podmirror::sync {

class Conditions {
 public:
  // Of so many keys; those that were written first fall out.
  static constexpr std::size_t kKeys = 16'384;
  // Of so many writes of one key it is known that they were fine: what is in flight at a time.
  static constexpr std::size_t kFine = 4;

  // We have the data from now on, and nothing is known of what was before.
  void Begin(std::uint64_t hlc) { floor_ = hlc; }

  // A write on a condition was merged over `was` ({}: nothing).
  void Took(std::uint64_t key_hash, Version was);
  // One was answered 200, or counts as such.
  void Told(std::uint64_t key_hash, Version version);
  // This one of a peer was fine. on: the version that its condition named, or {}. Requires: Took
  // was called for it.
  void Fine(std::uint64_t key_hash, Version version, Version on);
  // It was one of the last that were.
  bool WasFine(std::uint64_t key_hash, Version version) const {
    return FindFine(key_hash, version) != nullptr;
  }
  // This one was written on `lesser`, or on what was, in steps that were all fine.
  bool BuiltOn(std::uint64_t key_hash, Version version, Version lesser) const;
  // Whether a write on this base may have missed one that was told 200.
  bool MayMiss(std::uint64_t key_hash, Version base) const;

 private:
  struct Step {
    Version version;
    Version on;
  };
  struct Key {
    Version since;  // of what was stored when it was first remembered: all later ones are known
    Version told;   // the greatest
    std::array<Step, kFine> fine;  // the last that peers wrote and that were, the latest first
  };

  // Null when it is none of the last that were fine.
  const Step* FindFine(std::uint64_t key_hash, Version version) const;
  void Forget();

  absl::flat_hash_map<std::uint64_t, Key> keys_;
  std::deque<std::uint64_t> order_;  // their hashes, the oldest first
  std::uint64_t floor_ = 0;
};

}  // namespace podmirror::sync
