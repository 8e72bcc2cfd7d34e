#include "sync/large_writes.h"

namespace podmirror::sync {

void LargeWrites::Covered(std::uint64_t seq) {
  if (missing_.empty() || *missing_.begin() > seq) return;
  missing_.erase(missing_.begin(), missing_.upper_bound(seq));
  if (sending_ <= seq) transfer_.End();
}

void LargeWrites::Clear() {
  missing_.clear();
  transfer_.End();
}

Slice LargeWrites::Next(const Backlog& backlog) {
  if (!transfer_.active()) {
    sending_ = *missing_.begin();
    transfer_.Begin(backlog.at(sending_), true);
  }
  Slice slice = transfer_.Next();
  slice.base = backlog.BaseOf(sending_);
  return slice;
}

Transfer::Step LargeWrites::OnReply(const FragmentReply& reply, SteadyMs now) {
  const Transfer::Step step = transfer_.OnReply(reply, now);
  if (step == Transfer::Step::kDone) {
    missing_.erase(sending_);
    transfer_.End();
  }
  return step;
}

}  // namespace podmirror::sync
