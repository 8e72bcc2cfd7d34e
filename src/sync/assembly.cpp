#include "sync/assembly.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "sync/transfer.h"

namespace podmirror::sync {
namespace {

Assembly::Taken Complete(const EntryId& id, std::string_view packed) {
  Assembly::Taken taken;
  taken.next = packed.size();
  taken.entry = Entry::Unpack(packed);
  if (!taken.entry || !packed.empty() || taken.entry->key_hash() != id.key_hash ||
      taken.entry->version() != id.version) {
    taken.entry = {};
    taken.broken = true;
  }
  return taken;
}

}  // namespace

Assembly::Taken Assembly::Take(ConnId from, const Fragment& fragment, SteadyMs now) {
  if (fragment.bytes.size() == fragment.total) return Complete(fragment.id, fragment.bytes);
  // What fits into one fragment comes in one: parts of it would be many, and cost more than they
  // say.
  if (fragment.total <= kFragmentBytes) return {.broken = true};
  std::string whole;
  {
    absl::MutexLock lock(&mu_);
    auto it = partials_.find(fragment.id);
    // A sender that has let it expire sends the tombstone of the same version.
    if (it != partials_.end() && it->second.total != fragment.total) {
      Drop(it);
      it = partials_.end();
    }
    if (it == partials_.end()) {
      if (!MakeRoom(fragment.total, now)) return {.next = fragment.offset, .later = true};
      it = partials_.try_emplace(fragment.id).first;
      it->second.bytes.reserve(fragment.total);
      it->second.total = fragment.total;
      bytes_ += fragment.total;
    }
    Partial& partial = it->second;
    if (Busy(partial, from, now)) return {.next = fragment.offset, .later = true};
    partial.from = from;
    partial.at = now;
    const std::uint64_t have = partial.bytes.size();
    if (fragment.offset <= have && fragment.offset + fragment.bytes.size() > have) {
      partial.bytes.append(fragment.bytes, have - fragment.offset);
    }
    if (partial.bytes.size() < partial.total) return {.next = partial.bytes.size()};
    whole = std::move(partial.bytes);
    Drop(it);
  }
  return Complete(fragment.id, whole);
}

std::optional<std::uint64_t> Assembly::Next(ConnId from, const EntryId& id, SteadyMs now) const {
  absl::MutexLock lock(&mu_);
  const auto it = partials_.find(id);
  if (it == partials_.end()) return 0;
  if (Busy(it->second, from, now)) return std::nullopt;
  return it->second.bytes.size();
}

void Assembly::Forget(const EntryId& id) {
  absl::MutexLock lock(&mu_);
  if (const auto it = partials_.find(id); it != partials_.end()) Drop(it);
}

void Assembly::Release(ConnId from, const EntryId& id) {
  absl::MutexLock lock(&mu_);
  const auto it = partials_.find(id);
  if (it != partials_.end() && it->second.from == from) it->second.from = 0;
}

void Assembly::Left(ConnId from) {
  absl::MutexLock lock(&mu_);
  for (auto& [id, partial] : partials_) {
    if (partial.from == from) partial.from = 0;
  }
}

void Assembly::Sweep(SteadyMs now) {
  absl::MutexLock lock(&mu_);
  for (auto it = partials_.begin(); it != partials_.end();) {
    it = now - it->second.at >= kKeptMs ? Drop(it) : std::next(it);
  }
}

std::uint64_t Assembly::bytes() const {
  absl::MutexLock lock(&mu_);
  return bytes_;
}

// The one that nobody went on with for longest goes first.
bool Assembly::MakeRoom(std::uint64_t bytes, SteadyMs now) {
  while (bytes_ + bytes > kMaxBytes) {
    const auto oldest =
        std::min_element(partials_.begin(), partials_.end(),
                         [](const auto& a, const auto& b) { return a.second.at < b.second.at; });
    if (oldest == partials_.end() || now - oldest->second.at < kSafeMs) return false;
    Drop(oldest);
  }
  return true;
}

Assembly::Map::iterator Assembly::Drop(Map::iterator it) {
  bytes_ -= it->second.total;
  return partials_.erase(it);
}

Assembly::Taken TakeFragment(Cache& cache, Assembly& assembly, ConnId from,
                             const Fragment& fragment, SteadyMs now, WallMs expired_by,
                             std::optional<std::uint64_t> dead_floor) {
  const EntryRef held = FindVersion(cache, fragment.id);
  if (held && held->version() == fragment.id.version) {
    assembly.Forget(fragment.id);
    return {.next = fragment.total, .told = {MergeResult::kSame, held}};
  }
  if (fragment.total == 0) return {};
  Assembly::Taken taken = assembly.Take(from, fragment, now);
  if (!taken.entry) return taken;
  if (fragment.base) {
    taken.told = cache.MergeAndTell(taken.entry, expired_by, dead_floor);
    taken.dead = taken.told.result == MergeResult::kPurged && !taken.entry->tombstone() &&
                 !taken.entry->expired(expired_by);
  } else {
    taken.dead = !cache.MergeAll({&taken.entry, 1}, expired_by, dead_floor).empty();
  }
  return taken;
}

}  // namespace podmirror::sync
