#include "sim/witness.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace podmirror::sim {
namespace {

constexpr std::size_t kMaxFailures = 10;
constexpr SteadyMs kUnnoticed = 4000;  // a silent peer is called lost after 3 s
constexpr SteadyMs kLeaving = 12'000;  // from being cut off to being missed, at most
constexpr WallMs kAgreeing = 5000;  // clocks no further apart agree on what has expired, after that

// Every entry of a cache, tombstones included.
template <typename Visit>
void ForEach(const Cache& cache, Visit visit) {
  for (std::uint32_t bucket = 0; bucket < kBuckets; bucket = cache.NextStored(bucket + 1)) {
    for (const EntryRef& entry : cache.Bucket(bucket)) visit(*entry);
  }
}

std::uint64_t WriteHash(Version version, std::string_view value) {
  return absl::HashOf(version.hlc, version.origin, value);
}

std::string Kind(const Entry& entry) {
  return entry.tombstone() ? " (deleted)" : entry.expires_at() != 0 ? " (expiring)" : "";
}

// The version that is stored for a key hash, tombstones too; none is the lowest.
Version Stored(const Cache& cache, std::uint64_t key_hash) {
  Version newest;
  for (const EntryRef& entry : cache.Bucket(BucketOf(key_hash))) {
    if (entry->key_hash() == key_hash) newest = std::max(newest, entry->version());
  }
  return newest;
}

std::string UidOf(const Process& process) { return "uid-" + std::to_string(process.pod); }
std::string NameOf(const Process& process) { return "pod-" + std::to_string(process.pod); }

}  // namespace

Witness::Witness(SimWorld& world, const SimOptions& options) : world_(world), options_(options) {
  world_.watch.started = [this](Process& process) { Started(process); };
  world_.watch.ended = [this](Process& process, bool clean) { Ended(process, clean); };
  world_.watch.told = [this](Process& at, const PeerSet& set) { Told(at, set); };
  world_.watch.received = [this](Process& at, const sync::Message& m) { Received(at, m); };
  world_.watch.sent = [this](Process& from, const Process& to, const sync::Message& m) {
    Sent(from, to, m);
  };
  world_.watch.event = [this](Process& process, const sync::Event& event) {
    if (event.kind == sync::EventKind::kBootstrapDone) {
      began_anew_ = began_anew_ || (event.detail == "first" && was_any_synced_);
      was_any_synced_ = true;
      Of(process).synced_at = world_.now();
      BecameReady(process);
    }
  };
}

void Witness::Fail(const std::string& what) {
  if (failures_.size() >= kMaxFailures) return;
  failures_.push_back(std::to_string(world_.now()) + " ms: " + what);
  world_.Trace(0, "BROKEN: " + what);
}

std::string Witness::Text(std::string_view key, Version version) {
  return std::string(key) + "@" + version.ToString();
}

// --- versions never go back ---

void Witness::Look(Process& at, std::uint64_t key_hash, bool told_dead) {
  const auto& [type, key] = keys_[key_hash];
  const EntryRef held = at.cache->Peek(type, key);
  Seen& seen = Of(at).seen[key_hash];
  if (!held) {
    if (seen.version == Version{} || seen.forgotten) return;
    seen.forgotten = true;
    if (!seen.mortal) {
      if (!MayDrop(key_hash, seen)) {
        Fail(NameOf(at) + " does not hold any more " + Text(key, seen.version));
      }
      seen.mortal = true;
    } else if (!told_dead && seen.version.hlc > at.cache->purge_floor()) {
      Fail(NameOf(at) + " forgot a tombstone above its floor: " + Text(key, seen.version));
    }
    return;
  }
  const Version version = held->version();
  const std::uint64_t write = WriteHash(version, held->value());
  const auto written = written_.find(write);
  if (written == written_.end()) {
    Fail(NameOf(at) + " holds what nobody wrote: " + Text(key, version));
    return;
  }
  if (version < seen.version) {
    // Somebody who never heard of what is long forgotten, and whose clock is behind, wrote it anew.
    const bool forgotten =
        seen.forgotten || (seen.mortal && seen.version.hlc <= at.cache->purge_floor());
    const bool anew = forgotten && !held->tombstone() && written->second.at > seen.at;
    if (!anew) {
      Fail(NameOf(at) + " went back from " + Text(key, seen.version) + " to " + version.ToString() +
           (held->tombstone() ? ", a tombstone" : ", live"));
    }
  } else if (version == seen.version && seen.dead && !held->tombstone() &&
             world_.widest_skew() < options_.tombstone_ttl_ms / 2) {
    Fail(NameOf(at) + " holds live again what had expired: " + Text(key, version));
  }
  if (version != seen.version) seen.at = world_.now();
  seen.version = version;
  seen.write = write;
  seen.mortal = held->tombstone() || held->expires_at() != 0;
  seen.dead = held->tombstone();
  seen.forgotten = false;
}

void Witness::Written(Process& at, const sync::WriteItem& item) {
  const EntryRef held = at.cache->Peek(item.type, item.key);
  const std::string_view value = item.remove ? std::string_view() : item.value;
  if (!held || held->tombstone() != item.remove || held->value() != value) {
    Fail(NameOf(at) + " took a write of " + std::string(item.key) + " and does not hold it");
    return;
  }
  const Write write{world_.now(), at.serial};
  written_[WriteHash(held->version(), value)] = write;
  // Once it has expired it is a tombstone of the same version.
  if (item.ttl_ms != 0) written_[WriteHash(held->version(), {})] = write;
  const std::uint64_t key_hash = KeyHash(item.type, item.key);
  keys_.try_emplace(key_hash, item.type, std::string(item.key));
  largest_ = std::max<std::uint64_t>(largest_, held->memory_bytes());
  Look(at, key_hash);
}

// What a process does not hold any more, though it was neither deleted nor expired there: deleted
// elsewhere, or accepted by who was away for so long, while it was, and long ago.
bool Witness::MayDrop(std::uint64_t key_hash, const Seen& seen) {
  const Seen* newest = &seen;
  for (const Record& record : records_) {
    const auto found = record.seen.find(key_hash);
    if (found != record.seen.end() && found->second.version > newest->version) {
      newest = &found->second;
    }
  }
  if (newest->mortal) return true;
  const Write& write = written_.at(seen.write);
  Record& writer = records_[write.by];
  // Clocks apart, what it accepted last may bear an older time than what the others accepted first.
  const bool recent = world_.now() - write.at < options_.tombstone_ttl_ms;
  if (recent && world_.widest_skew() < kAgreeing) return false;
  // Nor does it know the others' time at all, if it began without them.
  if (began_anew_ && world_.widest_skew() >= options_.tombstone_ttl_ms) return true;
  const auto while_away = [&](SteadyMs from, SteadyMs until) {
    return write.at >= from - kLeaving && write.at <= until;
  };
  for (const auto& [from, until] : writer.away) {
    if (while_away(from, until)) return true;
  }
  return std::any_of(writer.missing_since.begin(), writer.missing_since.end(), [&](const auto& m) {
    return world_.now() - m.second >= options_.tombstone_ttl_ms &&
           while_away(m.second, world_.now());
  });
}

void Witness::Received(Process& at, const sync::Message& message) {
  const std::vector<EntryRef>* entries = sync::EntriesOf(message);
  if (entries == nullptr) return;
  if (const auto* reply = std::get_if<sync::OfferReply>(&message)) {
    for (const std::uint64_t dead : reply->dead) Look(at, dead, true);
  }
  for (const EntryRef& entry : *entries) {
    // A delete by a clock far behind: it kills what is older, and is forgotten at once.
    Seen& seen = Of(at).seen[entry->key_hash()];
    const bool kills = entry->tombstone() && entry->version() > seen.version &&
                       entry->version().hlc <= at.cache->purge_floor();
    if (kills && !at.cache->Peek(entry->type(), entry->key())) {
      seen = {entry->version(), 0, true, true, true, world_.now()};
    }
    Look(at, entry->key_hash());
  }
}

// --- acknowledgements ---

bool Witness::Holds(const Process& process, std::uint64_t key_hash, Version version) {
  const Holdings& seen = Of(process).seen;
  const auto found = seen.find(key_hash);
  return found != seen.end() && found->second.version >= version;
}

void Witness::Answered(Process& at, const sync::WriteItem& item,
                       const sync::WriteOutcome& outcome) {
  const std::uint64_t key_hash = KeyHash(item.type, item.key);
  std::set<int> holders;
  for (const auto& process : world_.processes()) {
    if (process->pod == at.pod || !Holds(*process, key_hash, outcome.version)) continue;
    const bool pending = std::find(outcome.pending.begin(), outcome.pending.end(),
                                   NameOf(*process)) != outcome.pending.end();
    if (!pending) holders.insert(process->pod);
  }
  if (holders.size() < outcome.acked) {
    Fail(NameOf(at) + " was told that " + std::to_string(outcome.acked) + " peers hold " +
         Text(item.key, outcome.version) + ", of those not pending " +
         std::to_string(holders.size()) + " do");
  }
}

// --- ready only with the data ---

void Witness::TakeBase(Record& record, const Process& self) {
  record.base.clear();
  record.base_of.clear();
  record.base_valid = true;
  std::map<std::uint64_t, std::size_t> holders;
  const std::vector<int> serving = world_.Serving();
  for (const int pod : serving) {
    const Process& other = world_.process(pod);
    if (&other == &self || other.draining) continue;
    // A pod that is not listed, or whose record does not say Ready yet, is not waited for.
    if (!world_.listed(pod) || !world_.record_ready(pod)) {
      record.base_valid = false;
      return;
    }
    record.base_of.insert(other.serial);
    for (const auto& [key, seen] : Of(other).seen) {
      if (seen.version == Version{}) continue;
      const auto [held, added] = record.base.try_emplace(key, seen);
      if (!added && seen.version < held->second.version) held->second = seen;
      ++holders[key];
    }
  }
  for (auto it = record.base.begin(); it != record.base.end();) {
    if (holders[it->first] < record.base_of.size()) {
      record.base.erase(it++);
    } else {
      ++it;
    }
  }
}

void Witness::Started(Process& process) {
  records_.resize(world_.processes().size());
  for (const auto& other : world_.processes()) {
    if (other->alive && !Of(*other).told.contains(UidOf(process))) {
      Of(process).missing_since[other->serial] = world_.now();
    }
  }
  TakeBase(Of(process), process);
}

void Witness::BecameReady(Process& process) {
  Record& record = Of(process);
  if (!record.base_valid) return;
  // One that all others took for lost by its record may have been left behind.
  const bool one_served =
      std::any_of(record.base_of.begin(), record.base_of.end(), [&](std::uint64_t serial) {
        const Process& other = *world_.processes()[serial];
        return other.alive && other.was_ready && !other.paused &&
               record.told_ready.contains(UidOf(other));
      });
  if (!one_served) return;
  for (const auto& [key, base] : record.base) {
    // The cache itself is asked: what came with the last message has not been looked at yet.
    if (Stored(*process.cache, key) >= base.version) continue;
    // A tombstone that all have forgotten need not be copied.
    const bool known = std::any_of(
        world_.processes().begin(), world_.processes().end(), [&, key = key](const auto& other) {
          return other->alive && other->was_ready && Stored(*other->cache, key) != Version{};
        });
    if (base.mortal || !known || MayDrop(key, base)) continue;
    Fail(NameOf(process) + " is ready without " + base.version.ToString());
    return;
  }
}

// --- who is missing ---

void Witness::Told(Process& observer, const PeerSet& set) {
  if (!set.self_listed) return;  // not trusted
  Record& told = Of(observer);
  for (const std::string& uid : told.told) {
    const bool stays = std::any_of(set.peers.begin(), set.peers.end(),
                                   [&](const PodRecord& peer) { return peer.uid == uid; });
    if (!stays) left_at_ = world_.now();
  }
  told.told.clear();
  told.told_ready.clear();
  for (const PodRecord& peer : set.peers) {
    told.told.insert(peer.uid);
    if (peer.ready) told.told_ready.insert(peer.uid);
  }
  for (const auto& process : world_.processes()) {
    if (!process->alive || process.get() == &observer) continue;
    Record& record = Of(*process);
    const std::string uid = UidOf(*process);
    const bool listed = std::any_of(set.peers.begin(), set.peers.end(),
                                    [&](const PodRecord& peer) { return peer.uid == uid; });
    if (!listed) {
      record.missing_since.try_emplace(observer.serial, world_.now());
      continue;
    }
    const auto since = record.missing_since.find(observer.serial);
    if (since == record.missing_since.end()) continue;
    if (world_.now() - since->second >= options_.tombstone_ttl_ms) {
      record.away.emplace_back(since->second, world_.now());
    }
    record.missing_since.erase(since);
  }
}

// --- drain ---

void Witness::Ended(Process& process, bool clean) {
  if (!clean || !Of(process).synced_at) return;
  // Some living process holds what it held, if there was one to hand it to.
  Holdings others;
  const auto add = [&](const Process& other) {
    for (const auto& [key, seen] : Of(other).seen) {
      Seen& newest = others[key];
      if (newest.version < seen.version) newest = seen;
    }
  };
  bool heard = false;
  for (const int pod : world_.Running()) {
    const Process& other = world_.process(pod);
    if (&other == &process) continue;
    heard = heard || (other.was_ready && !other.paused &&
                      world_.network().Reachable(process.address, other.address) &&
                      !other.draining && Of(process).told.contains(UidOf(other)));
    add(other);
  }
  if (!heard) return;
  // Nor can it know of one that was lost with its node since, and had been handed everything.
  for (const auto& other : world_.processes()) {
    if (other->gone_at && world_.now() - *other->gone_at <= kUnnoticed) add(*other);
  }
  for (const auto& [key, seen] : Of(process).seen) {
    if (!seen.mortal && others[key].version < seen.version) {
      Fail(NameOf(process) + " ended without handing over " + seen.version.ToString());
      return;
    }
  }
}

// --- bounds ---

void Witness::Sent(Process& from, const Process& to, const sync::Message& message) {
  std::size_t bytes = 0;
  if (const auto* entries = sync::EntriesOf(message)) {
    for (const EntryRef& entry : *entries) bytes += entry->packed().size();
  }
  // One chunk, and the one entry that went over it.
  if (bytes > 2 * sync::kChunkBytes) {
    Fail(NameOf(from) + " sent a message of " + std::to_string(bytes) + " bytes");
  }
  CheckBatches(from, to, message);
  const auto* chunk = std::get_if<sync::FetchReply>(&message);
  if (chunk == nullptr || chunk->busy) return;
  auto& served = Of(from).served;
  served[to.serial] = world_.now();
  std::erase_if(served, [&](const auto& item) {
    const Process& joiner = *world_.processes()[item.first];
    return world_.now() - item.second >= sync::kJoinerMs || !joiner.alive ||
           !world_.network().Connected(joiner, from);
  });
  if (served.size() > sync::kMaxJoiners) {
    Fail(NameOf(from) + " serves " + std::to_string(served.size()) + " joiners at a time");
  }
}

void Witness::CheckBatches(Process& from, const Process& to, const sync::Message& message) {
  auto& unanswered = Of(std::holds_alternative<sync::Ack>(message) ? to : from).unanswered;
  if (std::holds_alternative<sync::Hello>(message)) unanswered.erase(to.serial);
  if (std::holds_alternative<sync::Ack>(message)) unanswered.erase(from.serial);
  if (const auto* batch = std::get_if<sync::Batch>(&message)) {
    // One that does not follow the last is that of a run that starts anew.
    const auto last = unanswered.find(to.serial);
    if (last != unanswered.end() && batch->first_seq == last->second + 1) {
      Fail(NameOf(from) + " sent " + NameOf(to) + " a batch before it acknowledged the last");
    }
    unanswered[to.serial] = batch->last_seq;
  }
}

void Witness::CheckBounds() {
  for (const int pod : world_.Running()) {
    const sync::NodeStatus status = world_.driver(pod).Status();
    if (status.backlog_bytes > std::max(options_.backlog_bytes, largest_)) {
      Fail("pod-" + std::to_string(pod) + " keeps a backlog of " +
           std::to_string(status.backlog_bytes) + " bytes");
    }
  }
}

void Witness::CheckNoTombstones() {
  for (const int pod : world_.Running()) {
    const std::uint64_t tombstones = world_.cache(pod).Stats().tombstones;
    if (tombstones > 0) {
      Fail("pod-" + std::to_string(pod) + " still keeps " + std::to_string(tombstones) +
           " tombstones, the floor is " + std::to_string(WallOf(world_.cache(pod).purge_floor())));
    }
  }
}

// --- at rest ---

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
  const auto same = [](const Entry& a, const Entry& b) {
    const bool expiring = a.expires_at() != 0 || b.expires_at() != 0;
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
      }
    });
    for (const auto& [key, seen] : newest) {
      if (seen.mortal || seen.version == Version{} || held.contains(key)) continue;
      Fail(NameOf(process) + " lost " + seen.version.ToString());
      return;
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
