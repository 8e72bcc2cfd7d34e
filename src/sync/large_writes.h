// LargeWrites are those of our writes that a link's batches have left out: holes in what the peer
// has acknowledged, until each has travelled in fragments. They go in their order, one after the
// other.
// Thread safety: none; belongs to its Link.
#pragma once

#include <cstdint>
#include <optional>
#include <set>

#include "sync/backlog.h"
#include "sync/transfer.h"

namespace podmirror::sync {

class LargeWrites {
 public:
  // The numbers of those that the peer does not have yet.
  const std::set<std::uint64_t>& missing() const { return missing_; }
  bool empty() const { return missing_.empty(); }
  // The backlog does not hold all of them any more.
  bool FallenOut(const Backlog& backlog) const {
    return !missing_.empty() && *missing_.begin() < backlog.first();
  }

  void Add(std::uint64_t seq) { missing_.insert(seq); }
  // The peer has everything up to this number.
  void Covered(std::uint64_t seq);
  void Clear();
  // The stream is gone: what was sent may not have come.
  void StreamLost() { transfer_.End(); }

  bool unanswered() const { return transfer_.unanswered(); }
  // What is on its way, if anything is.
  std::optional<EntryId> bringing() const {
    return transfer_.active() ? std::optional(transfer_.id()) : std::nullopt;
  }
  bool Due(SteadyMs now) const {
    return transfer_.active() ? transfer_.Due(now) : !missing_.empty();
  }
  // Requires: Due, not FallenOut.
  Slice Next(const Backlog& backlog);
  Transfer::Step OnReply(const FragmentReply& reply, SteadyMs now);
  // The number of the write that was sent last.
  std::uint64_t sending() const { return sending_; }

 private:
  std::set<std::uint64_t> missing_;
  Transfer transfer_;
  std::uint64_t sending_ = 0;  // the number of what transfer_ brings
};

}  // namespace podmirror::sync
