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

bool Waiters::Waiter::Met() const { return !winner && acked >= NeededAcks(level, Peers()); }

bool Waiters::Waiter::Over() const {
  return winner || Met() || std::none_of(pending.begin(), pending.end(), [](const Peer& peer) {
           return peer.reachable;
         });
}

WriteOutcome Waiters::Waiter::Outcome() const {
  WriteOutcome outcome;
  outcome.required = level;
  outcome.met = Met();
  outcome.peers = Peers();
  outcome.acked = acked;
  outcome.version = write.version;
  outcome.winner = winner;
  outcome.pending = write.gone;
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
    End(waiter, out);
    return;
  }
  if (write.condition) by_key_.emplace(*write.condition, write.last);
  waiters_.emplace(write.last, std::move(waiter));
}

void Waiters::End(Waiter& waiter, Completions& out) {
  WriteOutcome outcome = waiter.Outcome();
  if (outcome.met && waiter.write.condition) {
    conditions_.Told(*waiter.write.condition, waiter.write.version);
  }
  out.emplace_back(std::move(waiter.done), std::move(outcome));
}

Waiters::Map::iterator Waiters::Find(std::uint64_t number) {
  const auto it = waiters_.lower_bound(number);
  return it == waiters_.end() || it->second.write.first > number ? waiters_.end() : it;
}

Waiters::Map::iterator Waiters::Settle(Map::iterator it, Completions& out) {
  if (!it->second.Over()) return std::next(it);
  if (it->second.write.condition) {
    auto [from, to] = by_key_.equal_range(*it->second.write.condition);
    by_key_.erase(std::find_if(from, to, [&](const auto& at) { return at.second == it->first; }));
  }
  End(it->second, out);
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
    if (found != pending.end() && it->second.write.condition) {
      if (!held.by_pass) *found = {found->record, false, true};  // it has given no verdict
    } else if (found != pending.end() && it->second.write.oldest_hlc() <= held.dead_floor) {
      *found = {found->record, false, true};
    } else if (found != pending.end() && !found->refused) {
      pending.erase(found);
      ++it->second.acked;
    }
    it = Settle(it, out);
  }
}

void Waiters::Refused(const PodRecord& peer, std::uint64_t number, Completions& out) {
  const auto it = Find(number);
  if (it == waiters_.end()) return;
  for (Peer& candidate : it->second.pending) {
    if (candidate.record != &peer) continue;
    candidate.refused = true;
    candidate.reachable = false;
  }
  Settle(it, out);
}

void Waiters::Judged(const PodRecord& peer, std::uint64_t number, const Verdict& verdict,
                     Completions& out) {
  const auto it = Find(number);
  if (it == waiters_.end() || !it->second.write.condition) return;
  auto& pending = it->second.pending;
  const auto found = std::find_if(pending.begin(), pending.end(),
                                  [&](const Peer& candidate) { return candidate.record == &peer; });
  if (found == pending.end()) return;
  if (verdict.kind == Verdict::kLost) {
    it->second.winner = verdict.winner;
  } else if (verdict.kind == Verdict::kFine) {
    pending.erase(found);
    ++it->second.acked;
  }
  Settle(it, out);
}

void Waiters::Overrun(std::uint64_t key_hash, Version base, Version winner, Completions& out) {
  std::vector<std::uint64_t> numbers;
  const auto [from, to] = by_key_.equal_range(key_hash);
  for (auto at = from; at != to; ++at) numbers.push_back(at->second);
  for (const std::uint64_t number : numbers) {
    const auto it = waiters_.find(number);
    const Version version = it->second.write.version;
    if (version <= base || version >= winner) continue;
    it->second.winner = winner;
    Settle(it, out);
  }
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
    if (it->second.write.condition) {
      for (Peer& candidate : it->second.pending) {
        if (candidate.record == &peer) candidate = {&peer, false, true};
      }
    } else if (!it->second.write.legacy_takes) {
      std::erase_if(it->second.pending,
                    [&](const Peer& candidate) { return candidate.record == &peer; });
    }
    it = Settle(it, out);
  }
}

void Waiters::Removed(const PodRecord& peer, Completions& out) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    const auto erased = std::erase_if(
        it->second.pending, [&](const Peer& candidate) { return candidate.record == &peer; });
    if (erased != 0 && it->second.write.condition) it->second.write.gone.push_back(peer.name);
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
