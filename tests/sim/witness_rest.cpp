// The part of Witness that looks at pods that ought to be equal by now.
#include <algorithm>

#include "sim/witness.h"

namespace podmirror::sim {
namespace {

std::string Kind(const Entry& entry) {
  return entry.tombstone() ? " (deleted)" : entry.expires_at() != 0 ? " (expiring)" : "";
}

}  // namespace

// Whether it may be forgotten here and not yet there: it has expired by the clock of one pod, then
// or now, and not of another; or it was deleted by a pod whose clock was so far behind that others
// had forgotten later ones.
bool Witness::Expiring(const Entry& entry) const {
  if (entry.tombstone() && world_.widest_skew() > kAgreeing) {
    const std::vector<int> pods = world_.Running();
    return std::any_of(pods.begin(), pods.end(), [&](int pod) {
      return entry.version().hlc <= world_.cache(pod).purge_floor();
    });
  }
  if (trust_clocks_) return Expired(entry.expires_at());
  if (entry.expires_at() == 0) return false;
  const WallMs left = entry.expires_at() - SimWorld::kEpoch - world_.now();
  return world_.widest_skew() > kAgreeing || (left > -kAgreeing && left < kAgreeing);
}

// A tombstone that one of the two has forgotten and the other must still keep: it has been in
// contact less lately with a pod that is missing, or was until less than tombstone-ttl ago.
bool Witness::HeldByFloor(const Entry& entry, int one, int other) {
  const std::uint64_t floor = world_.cache(one).purge_floor();
  const std::uint64_t other_floor = world_.cache(other).purge_floor();
  const std::uint64_t hlc = entry.version().hlc;
  if (!entry.tombstone() || hlc > std::max(floor, other_floor) ||
      hlc <= std::min(floor, other_floor)) {
    return false;
  }
  const std::vector<int> pods = world_.Pods();
  return (left_at_ && world_.now() - *left_at_ < options_.tombstone_ttl_ms) ||
         std::any_of(pods.begin(), pods.end(),
                     [&](int pod) { return world_.listed(pod) && !world_.running(pod); });
}

bool Witness::Same(const std::vector<int>& pods) {
  return std::all_of(pods.begin(), pods.end(), [&](int pod) {
    return world_.cache(pod).digest() == world_.cache(pods[0]).digest();
  });
}

void Witness::CheckConverged(const std::vector<int>& pods) {
  if (pods.empty()) return;
  using Contents = std::map<std::pair<std::int32_t, std::string>, EntryRef>;
  const auto contents_of = [&](int pod) {
    Contents contents;
    ForEach(world_.cache(pod), [&](const Entry& entry) {
      contents[{entry.type(), std::string(entry.key())}] = EntryRef::Share(&entry);
    });
    return contents;
  };
  // Where the clocks differ, an entry has expired here and not there: the same version all the
  // same.
  const auto same = [&](const Entry& a, const Entry& b) {
    const WallMs expires_at = std::max(a.expires_at(), b.expires_at());
    const bool expiring = trust_clocks_ ? Expired(expires_at) : expires_at != 0;
    return a.version() == b.version() && (a.value() == b.value() || expiring);
  };
  const Contents first = contents_of(pods[0]);
  for (const int pod : pods) {
    const Contents other = contents_of(pod);
    const std::string between = "pods " + std::to_string(pods[0]) + " and " + std::to_string(pod);
    bool forgotten = false;
    const auto may_differ = [&](const Entry& entry) {
      return Expiring(entry) || HeldByFloor(entry, pods[0], pod);
    };
    for (const auto& [key, entry] : first) {
      const auto found = other.find(key);
      if (found != other.end() && same(*entry, *found->second)) continue;
      if (found == other.end() && may_differ(*entry)) {
        forgotten = true;
        continue;
      }
      Fail(between + " differ: " + Text(key.second, entry->version()) + Kind(*entry) + " against " +
           (found == other.end() ? "nothing" : found->second->version().ToString()));
      return;
    }
    for (const auto& [key, entry] : other) {
      if (first.contains(key)) continue;
      if (may_differ(*entry)) {
        forgotten = true;
        continue;
      }
      Fail(between + " differ: nothing against " + Text(key.second, entry->version()) +
           Kind(*entry));
      return;
    }
    if (!forgotten && world_.cache(pod).digest() != world_.cache(pods[0]).digest()) {
      Fail(between + " hold the same at different digests");
    }
  }
}

void Witness::CheckNothingLost(const std::vector<int>& pods, SteadyMs ready_by) {
  Holdings newest;
  for (const auto& process : world_.processes()) {
    const std::optional<SteadyMs> synced_at = Of(*process).synced_at;
    if (!process->alive || !synced_at || *synced_at > ready_by) continue;
    for (const auto& [key, seen] : Of(*process).seen) {
      Seen& known = newest[key];
      if (known.version < seen.version) known = seen;
    }
  }
  for (const int pod : pods) {
    Process& process = world_.process(pod);
    Holdings held;
    ForEach(*process.cache, [&](const Entry& entry) {
      held[entry.key_hash()].version = entry.version();
      const auto known = newest.find(entry.key_hash());
      if (known != newest.end() && entry.version() < known->second.version) {
        Fail(NameOf(process) + " holds an older " + Text(entry.key(), entry.version()) + " than " +
             known->second.version.ToString());
      } else if (known != newest.end() && entry.tombstone() && !Mortal(known->second)) {
        Fail(NameOf(process) +
             " holds as dead what has not expired: " + Text(entry.key(), entry.version()));
      }
    });
    for (const auto& [key, seen] : newest) {
      if (Mortal(seen) || seen.version == Version{} || held.contains(key)) continue;
      Fail(NameOf(process) + " lost " + seen.version.ToString());
      return;
    }
  }
}

void Witness::CheckOldServices(const std::vector<int>& pods) {
  for (const int pod : pods) {
    for (const auto& old : world_.old_pods()) {
      const auto& values = world_.network().old().values().at(old.second);
      ForEach(world_.cache(pod), [&](const Entry& entry) {
        if (entry.tombstone() || entry.expires_at() != 0) return;
        const auto found = values.find({entry.type(), std::string(entry.key())});
        if (found != values.end() && found->second == entry.value()) return;
        Fail("pod-" + std::to_string(old.first) + ", an old service, does not hold " +
             Text(entry.key(), entry.version()) + " of pod-" + std::to_string(pod));
      });
    }
  }
}

void Witness::CheckDigests() {
  for (const int pod : world_.Running()) {
    std::uint64_t sum = 0;
    ForEach(world_.cache(pod),
            [&](const Entry& entry) { sum += EntryHash(entry.key_hash(), entry.version()); });
    if (sum != world_.cache(pod).digest()) {
      Fail("pod-" + std::to_string(pod) + ": the digest is not that of its entries");
    }
  }
}

}  // namespace podmirror::sim
