// Joiner brings a starting node to its copy: it follows what DecideJoin says (join.h), copies from
// the donor, has the copy checked by passes, and declares the node synced.
// Thread safety: none; belongs to the Node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/env.h"
#include "sync/join.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/repair.h"
#include "sync/self.h"
#include "sync/types.h"

namespace podmirror::sync {

// When more time passes between two ticks, the process was stopped meanwhile.
inline constexpr std::int64_t kLongestStepMs = 1000;

class Joiner {
 public:
  Joiner(Self& self, Peers& peers, Repair& repair, Now now)
      : self_(self), peers_(peers), repair_(repair), since_(now.steady), reason_(peers.error()) {}

  // Goes on with joining, if we are not synced yet. True: now we are.
  bool Step(Now now);
  // So much time has passed. A process that was stopped has not waited for anybody meanwhile.
  void Waited(std::int64_t ms);
  // The link has lost its stream, or is about to be removed.
  void Lost(const Link& link);

  // A chunk has come, its entries not merged yet. False: it is not what we asked for.
  bool Admit(const Link& link, const FetchReply& reply, Now now);
  // It has been merged, or said that there is none now. False: no copy from there is under way.
  bool OnChunk(const Link& link, const FetchReply& reply, Now now);
  // An entry of the copy has come in fragments.
  void OnLarge(const Entry& entry);

  // Something is to be asked of this peer.
  bool HasNext(const Link& link) const {
    return copy_ && copy_->donor == link.id() && !copy_->asked;
  }
  // Requires: HasNext.
  Fetch Next(Now now);

  const std::string& reason() const { return reason_; }  // why we are not synced; empty when we are
  BootstrapReport Report(Now now) const;

 private:
  struct Copy {
    std::string donor;  // id of its link
    bool asked = false;
    bool finishing = false;  // the last chunk has come and is being merged
    SteadyMs asked_at = 0;
  };

  JoinView View(Now now) const;
  void BeginCopy(const std::string& donor);
  void EndCopy();
  void SpoilChecks();
  void BecomeSynced(bool first, Now now);

  Self& self_;
  Peers& peers_;
  Repair& repair_;
  const SteadyMs since_;        // of this process
  std::int64_t waited_ms_ = 0;  // since the set is known, without the time that we stood still
  Position position_;           // where the copy goes on, whoever the donor
  std::optional<Copy> copy_;    // while one is under way
  bool copied_ = false;
  bool legacy_copied_ = false;
  std::map<std::string, SteadyMs> busy_until_;  // by link id
  BootstrapReport report_;
  std::string reason_;
};

}  // namespace podmirror::sync
