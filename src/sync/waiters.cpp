#include "sync/waiters.h"

#include <algorithm>
#include <limits>

namespace podmirror::sync {

std::uint32_t NeededAcks(AckLevel level, std::uint32_t peers) {
  switch (level) {
    case AckLevel::kLocal:
      return 0;
    case AckLevel::kOne:
      return std::min<std::uint32_t>(1, peers);
    case AckLevel::kMajority:
      return (peers + 1) / 2;
    case AckLevel::kAll:
      return peers;
  }
  return peers;
}

bool Waiters::Waiter::Met() const {
  return acked >= NeededAcks(level, acked + static_cast<std::uint32_t>(pending.size()));
}

bool Waiters::Waiter::Over() const {
  return Met() || std::none_of(pending.begin(), pending.end(),
                               [](const Peer& peer) { return peer.reachable; });
}

WriteOutcome Waiters::Waiter::Outcome() const {
  WriteOutcome outcome;
  outcome.required = level;
  outcome.met = Met();
  outcome.peers = acked + static_cast<std::uint32_t>(pending.size());
  outcome.acked = acked;
  outcome.version = write.version;
  outcome.pending.reserve(pending.size());
  for (const Peer& peer : pending) outcome.pending.push_back(peer.record->name);
  return outcome;
}

void Waiters::Add(const Write& write, const WriteOptions& options, SteadyMs now,
                  std::vector<Peer> peers, WriteDone done, Completions& out) {
  Waiter waiter{.write = write,
                .level = options.ack,
                .deadline = now + options.timeout_ms,
                .pending = std::move(peers),
                .done = std::move(done)};
  if (waiter.Over() || waiters_.size() >= kMaxWaiters) {
    WriteOutcome outcome = waiter.Outcome();
    out.emplace_back(std::move(waiter.done), std::move(outcome));
    return;
  }
  waiters_.emplace(write.last, std::move(waiter));
}

Waiters::Map::iterator Waiters::Settle(Map::iterator it, Completions& out) {
  if (!it->second.Over()) return std::next(it);
  WriteOutcome outcome = it->second.Outcome();
  out.emplace_back(std::move(it->second.done), std::move(outcome));
  return waiters_.erase(it);
}

void Waiters::Acked(const PodRecord& peer, const Held& held, std::uint64_t first,
                    Completions& out) {
  for (auto it = waiters_.lower_bound(first); it != waiters_.end() && it->first <= held.last;) {
    const std::uint64_t begin = it->second.write.first;
    const auto hole = held.missing.lower_bound(begin);
    const bool holed = hole != held.missing.end() && *hole <= it->first;
    if (begin < held.start || holed) {
      ++it;
      continue;
    }
    auto& pending = it->second.pending;
    const auto found = std::find_if(pending.begin(), pending.end(), [&](const Peer& candidate) {
      return candidate.record == &peer;
    });
    if (found != pending.end() && !found->refused) {
      pending.erase(found);
      ++it->second.acked;
    }
    it = Settle(it, out);
  }
}

void Waiters::Refused(const PodRecord& peer, std::uint64_t number, Completions& out) {
  const auto it = waiters_.lower_bound(number);
  if (it == waiters_.end() || it->second.write.first > number) return;
  for (Peer& candidate : it->second.pending) {
    if (candidate.record != &peer) continue;
    candidate.refused = true;
    candidate.reachable = false;
  }
  Settle(it, out);
}

void Waiters::Unreachable(const PodRecord& peer, Completions& out) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    for (Peer& candidate : it->second.pending) {
      if (candidate.record == &peer) candidate.reachable = false;
    }
    it = Settle(it, out);
  }
}

void Waiters::Legacy(const PodRecord& peer, Completions& out) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (!it->second.write.legacy_takes) {
      std::erase_if(it->second.pending,
                    [&](const Peer& candidate) { return candidate.record == &peer; });
    }
    it = Settle(it, out);
  }
}

void Waiters::Removed(const PodRecord& peer, Completions& out) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    std::erase_if(it->second.pending,
                  [&](const Peer& candidate) { return candidate.record == &peer; });
    it = Settle(it, out);
  }
}

void Waiters::EndAll(Completions& out) { Tick(std::numeric_limits<SteadyMs>::max(), out); }

void Waiters::Tick(SteadyMs now, Completions& out) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (now >= it->second.deadline) {
      for (Peer& candidate : it->second.pending) candidate.reachable = false;
    }
    it = Settle(it, out);
  }
}

}  // namespace podmirror::sync
