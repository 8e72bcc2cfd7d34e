// LinkPasses are the repair passes with one peer: the one under way, when the next one is due, and
// what the completed ones have shown. Two words, both an hlc of ours:
//   contact  Our hlc when the last complete pass with the peer began. What the peer held then, we
//            hold.
//   bound    How far the purge floor may go while this peer is in the set: our contact with it, but
//            no further than the peer's own contacts had come when the pass began. What came to the
//            peer later, from a pod that had been away, is newer than these. See retention.h.
// Thread safety: none; belongs to its Link.
#pragma once

#include <cstdint>
#include <optional>

#include "base/env.h"
#include "sync/legacy_pass.h"
#include "sync/pass.h"
#include "sync/peer_state.h"

namespace podmirror::sync {

// A copy counts as checked by a pass that began at most this long ago.
inline constexpr std::int64_t kCheckedMs = 60'000;

class LinkPasses {
 public:
  // bound: what counts until the first pass is complete, for contact, too.
  LinkPasses(std::uint64_t bound, SteadyMs now)
      : contact_(bound), bound_(bound), contact_at_(now) {}

  std::optional<Pass>& pass() { return pass_; }
  const std::optional<Pass>& pass() const { return pass_; }
  std::optional<LegacyPass>& legacy() { return legacy_; }
  const std::optional<LegacyPass>& legacy() const { return legacy_; }

  std::uint64_t contact() const { return contact_; }
  std::uint64_t bound() const { return bound_; }
  // When the last pass was completed, or when the peer appeared.
  SteadyMs contact_at() const { return contact_at_; }

  bool Due(SteadyMs now) const { return wanted_ || now >= due_at_; }
  // A pass is to begin as soon as may be, after the present one if there is one.
  void Want() { wanted_ = true; }
  // begun_seq: the last number of our backlog. peer: as it is now.
  void Begin(std::uint64_t id, std::uint64_t hlc, std::uint64_t begun_seq, const PeerState& peer,
             SteadyMs now);
  void BeginLegacy(std::uint64_t id, std::uint64_t hlc) {
    legacy_.emplace(id);
    legacy_begun_ = hlc;
    wanted_ = false;
  }
  void EndLegacy(SteadyMs next_at) {
    told_ = legacy_begun_;
    Abandon(next_at);
  }
  // Our hlc when the last complete pass with it began that was one for a legacy peer: it has been
  // told what we held then. 0 = none yet.
  std::uint64_t told() const { return told_; }
  bool Stuck(SteadyMs now) const { return pass_ && now - progress_at_ > kStuckMs; }
  void Progress(SteadyMs now) { progress_at_ = now; }
  // The run restarted: only a pass that begins from now on brings what that left out.
  void RunRestarted() {
    mends_ = false;
    wanted_ = true;
  }
  // Whether the present pass began after the last restart of the run.
  bool mends() const { return mends_; }
  // The pass is complete: it counts from now on. next_at: when the next one is due.
  void End(SteadyMs now, SteadyMs next_at);
  // The pass, of either kind, is given up or of no further use.
  void Abandon(SteadyMs next_at) {
    StreamLost();
    due_at_ = next_at;
  }
  void StreamLost() {
    pass_.reset();
    legacy_.reset();
  }

  // A pass has brought what the peer held, and whatever it wrote since has been on its way to us
  // without a break.
  bool Checked(SteadyMs now) const { return checked_at_ >= 0 && now - checked_at_ <= kCheckedMs; }
  // Something may have been missed: no pass that has begun counts as a check any more.
  void SpoilCheck() {
    checked_at_ = -1;
    checks_ = false;
  }

 private:
  static constexpr std::int64_t kStuckMs = 10'000;

  std::optional<Pass> pass_;
  std::optional<LegacyPass> legacy_;  // with a peer that speaks hellorpc.Sync, in place of pass_
  std::uint64_t legacy_begun_ = 0;
  std::uint64_t told_ = 0;
  bool mends_ = false;
  bool checks_ = false;  // nothing has spoiled the check since the present pass began
  SteadyMs begun_at_ = 0;
  SteadyMs checked_at_ = -1;  // when the pass began that counts as a check; -1 = none does
  bool wanted_ = false;
  SteadyMs due_at_ = 0;
  SteadyMs progress_at_ = 0;
  std::uint64_t contact_;
  std::uint64_t bound_;
  SteadyMs contact_at_;
};

}  // namespace podmirror::sync
