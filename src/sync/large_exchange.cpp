#include "sync/large_exchange.h"

namespace podmirror::sync {

bool LargeExchange::HasNext(const std::optional<EntryId>& write, SteadyMs now) const {
  if (!pulls_.empty()) return !asked_ && now >= pull_at_;
  if (pushes_.empty() || pushes_.front() == write) return false;
  return push_.active() ? push_.Due(now) : true;
}

LargeExchange::Outgoing LargeExchange::Next(const Cache& cache, Assembly& assembly, ConnId conn,
                                            const std::optional<EntryId>& write, bool may_push,
                                            SteadyMs now) {
  if (!HasNext(write, now)) return {};
  if (!pulls_.empty()) return NextPull(cache, assembly, conn, now);
  return may_push ? NextPush(cache) : Outgoing();
}

LargeExchange::Outgoing LargeExchange::NextPull(const Cache& cache, Assembly& assembly, ConnId conn,
                                                SteadyMs now) {
  for (std::size_t left = pulls_.size(); left > 0; --left) {
    const EntryId id = pulls_.front();
    if (FindVersion(cache, id)) {  // it has come another way, or something newer has
      assembly.Release(conn, id);
      pulls_.pop_front();
      continue;
    }
    if (const auto offset = assembly.Next(conn, id, now)) {
      asked_ = true;
      return FragmentRequest{id, *offset};
    }
    pulls_.pop_front();
    pulls_.push_back(id);
  }
  pull_at_ = now + kLookMs;
  return {};
}

void LargeExchange::Written(const EntryId& id) {
  if (pushes_.empty() || pushes_.front() != id) return;
  push_.End();
  pushes_.pop_front();
}

LargeExchange::Outgoing LargeExchange::NextPush(const Cache& cache) {
  while (!push_.active()) {
    if (pushes_.empty()) return {};
    if (EntryRef entry = FindVersion(cache, pushes_.front())) {
      push_.Begin(std::move(entry), false);
    } else {
      pushes_.pop_front();
    }
  }
  return push_.Next();
}

bool LargeExchange::OnFragment(const Fragment& fragment, const Assembly::Taken& taken,
                               SteadyMs now) {
  if (!asked_) return true;  // of a pass before this one
  EntryId& asked = pulls_.front();
  if (fragment.id.key_hash != asked.key_hash) return true;
  if (fragment.id.version < asked.version) return false;
  asked_ = false;
  asked = fragment.id;
  if (taken.entry || fragment.total == 0) {
    received_ += taken.entry ? 1 : 0;
    lacks_ = lacks_ || !taken.entry;
    pulls_.pop_front();
  } else if (taken.later) {
    pull_at_ = now + kLookMs;
  }
  return true;
}

Transfer::Step LargeExchange::OnReply(const FragmentReply& reply, SteadyMs now) {
  const Transfer::Step step = push_.OnReply(reply, now);
  if (step == Transfer::Step::kDone) {
    ++sent_;
    push_.End();
    pushes_.pop_front();
  }
  return step;
}

}  // namespace podmirror::sync
