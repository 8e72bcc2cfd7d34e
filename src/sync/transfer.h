// A Transfer takes one large entry to a peer, fragment by fragment: the next is sent when the last
// was answered, from where the peer says that it has it.
// Thread safety: none; belongs to a Link, under the driver's mutex.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/env.h"
#include "cache/cache.h"
#include "sync/message.h"

namespace podmirror::sync {

// A fragment of an entry that is still to be cut out of it, which need not be done under a lock.
struct Slice {
  EntryRef entry;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  bool write = false;
  std::optional<Base> base{};  // of a write on a condition
};
Fragment Cut(const Slice& slice);

// What is stored of this version, else of the lowest newer one of the same key hash; null when
// there is neither.
EntryRef FindVersion(const Cache& cache, const EntryId& id);

class Transfer {
 public:
  // How long to wait with what the peer does not take now.
  static constexpr std::int64_t kLaterMs = 1000;

  bool active() const { return static_cast<bool>(entry_); }
  const EntryId& id() const { return id_; }  // Requires: active
  // A fragment has been sent and not been answered.
  bool unanswered() const { return unanswered_; }
  void Begin(EntryRef entry, bool write);
  void End() { *this = Transfer(); }

  bool Due(SteadyMs now) const { return active() && !unanswered_ && now >= due_at_; }
  // Requires: Due.
  Slice Next();

  enum class Step {
    kIgnored,  // no answer to the fragment that was sent
    kGoesOn,
    kDone,    // the peer has it, or it is dead there
    kBroken,  // the peer claims to have more than there is
  };
  Step OnReply(const FragmentReply& reply, SteadyMs now);

 private:
  EntryRef entry_;
  EntryId id_;
  bool write_ = false;
  bool unanswered_ = false;
  bool probe_ = false;  // only ask how far it is: what it did not take may be refused again
  std::uint64_t offset_ = 0;
  SteadyMs due_at_ = 0;
};

}  // namespace podmirror::sync
