#include "sim/witness.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace podmirror::sim {
namespace {

constexpr std::size_t kMaxFailures = 10;
// What a backlog keeps of a write on a condition, beside its entry.
constexpr std::uint64_t kBaseBytes = 40;
constexpr SteadyMs kUnheard = 2500;    // heartbeats come each second
constexpr SteadyMs kLeaving = 12'000;  // from being cut off to being missed, at most

}  // namespace

std::uint64_t Witness::WriteHash(Version version, std::string_view value) {
  return absl::HashOf(version.hlc, version.origin, value);
}

Witness::Witness(SimWorld& world, const SimOptions& options) : world_(world), options_(options) {
  world_.watch.started = [this](Process& process) { Started(process); };
  world_.watch.ended = [this](Process& process, bool clean) { Ended(process, clean); };
  world_.watch.told = [this](Process& at, const PeerSet& set) { Told(at, set); };
  world_.watch.received = [this](Process& at, const Process& from, const sync::Message& m) {
    Heard(at, from);
    Received(at, m);
  };
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

void Witness::LookGone(Process& at, std::uint64_t key_hash, Seen& seen, By by) {
  if (seen.version == Version{} || seen.forgotten) return;
  const std::string& key = keys_[key_hash].second;
  seen.forgotten = true;
  if (!Mortal(seen)) {
    if (!MayDrop(key_hash, seen)) {
      Fail(NameOf(at) + " does not hold any more " + Text(key, seen.version) +
           (seen.expires_at != 0 ? " (expiring)" : ""));
    }
    seen.removed = true;
  } else if (by != By::kDead && seen.version.hlc > at.cache->purge_floor()) {
    Fail(NameOf(at) + " forgot a tombstone above its floor: " + Text(key, seen.version));
  }
}

void Witness::Look(Process& at, std::uint64_t key_hash, By by) {
  const auto& [type, key] = keys_[key_hash];
  const EntryRef held = at.cache->Peek(type, key);
  Seen& seen = Of(at).seen[key_hash];
  if (!held) {
    LookGone(at, key_hash, seen, by);
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
        seen.forgotten || (Mortal(seen) && seen.version.hlc <= at.cache->purge_floor());
    const bool anew = forgotten && !held->tombstone() && written->second.at > seen.at;
    // Dropped as dead, and held by another that was away as well.
    const bool dead_too = seen.forgotten && !seen.dead && MayBeDead(written->second);
    if (!anew && !dead_too) {
      Fail(NameOf(at) + " went back from " + Text(key, seen.version) + " to " + version.ToString() +
           (held->tombstone() ? ", a tombstone" : ", live"));
    }
  } else if (version == seen.version && seen.dead && !held->tombstone() &&
             world_.widest_skew() < options_.tombstone_ttl_ms / 2) {
    Fail(NameOf(at) + " holds live again what had expired: " + Text(key, version));
  }
  const bool news = version != seen.version || seen.dead != held->tombstone();
  if (version != seen.version) seen.at = world_.now();
  seen.version = version;
  seen.write = write;
  seen.expires_at = written->second.expires_at;
  seen.removed = held->tombstone() && seen.expires_at == 0;
  seen.dead = held->tombstone();
  seen.forgotten = false;
  if (seen.expires_at != 0 && !seen.dead) Of(at).expiring.insert(key_hash);
  if (news && seen.dead && by == By::kLive) CheckCalledDead(at, key_hash, seen);
}

void Witness::Written(Process& at, const sync::WriteItem& item) {
  const EntryRef held = at.cache->Peek(item.type, item.key);
  const std::string_view value = item.remove ? std::string_view() : item.value;
  if (!held || held->tombstone() != item.remove || held->value() != value) {
    Fail(NameOf(at) + " took a write of " + std::string(item.key) + " and does not hold it");
    return;
  }
  const Write write{world_.now(), at.serial, held->expires_at()};
  written_[WriteHash(held->version(), value)] = write;
  // Once it has expired it is a tombstone of the same version.
  if (item.ttl_ms != 0) written_[WriteHash(held->version(), {})] = write;
  // An old service that hands it on knows no more than the value.
  if (!world_.old_pods().empty())
    written_.try_emplace(WriteHash(LegacyVersion(value), value), Write{write.at, write.by, 0});
  const std::uint64_t key_hash = KeyHash(item.type, item.key);
  keys_.try_emplace(key_hash, item.type, std::string(item.key));
  largest_ = std::max<std::uint64_t>(largest_, held->memory_bytes() + kBaseBytes);
  Of(at).own.emplace_back(key_hash, held->version());
  Look(at, key_hash);
}

// What a process does not hold any more, though it was neither deleted nor expired there: deleted
// elsewhere, or dead.
bool Witness::MayDrop(std::uint64_t key_hash, const Seen& seen) {
  const Seen* newest = &seen;
  for (const Record& record : records_) {
    const auto found = record.seen.find(key_hash);
    if (found != record.seen.end() && found->second.version > newest->version) {
      newest = &found->second;
    }
  }
  return Mortal(*newest) || MayBeDead(written_.at(seen.write));
}

// Accepted by who was away for tombstone-ttl, while it was, and long ago.
bool Witness::MayBeDead(const Write& write) {
  Record& writer = records_[write.by];
  // Clocks apart, what it accepted last may bear an older time than what the others accepted first.
  const bool recent = world_.now() - write.at < options_.tombstone_ttl_ms - kAgreeing;
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
  if (const auto* fragment = std::get_if<sync::Fragment>(&message)) {
    if (keys_.contains(fragment->id.key_hash)) Look(at, fragment->id.key_hash);
    return;
  }
  const std::vector<EntryRef>* entries = sync::EntriesOf(message);
  if (entries == nullptr) return;
  if (const auto* reply = std::get_if<sync::OfferReply>(&message)) {
    for (const std::uint64_t dead : reply->dead) Look(at, dead, By::kDead);
  }
  for (const EntryRef& entry : *entries) {
    // A delete by a clock far behind: it kills what is older, and is forgotten at once.
    Seen& seen = Of(at).seen[entry->key_hash()];
    const bool kills = entry->tombstone() && entry->version() > seen.version &&
                       entry->version().hlc <= at.cache->purge_floor();
    if (kills && !at.cache->Peek(entry->type(), entry->key())) {
      seen = {entry->version(), 0, true, true, true, 0, world_.now()};
    }
    Look(at, entry->key_hash(), entry->tombstone() ? By::kTombstone : By::kLive);
  }
}

// --- who is missing ---

void Witness::Told(Process& observer, const PeerSet& set) {
  if (!set.self_listed) return;  // not trusted
  Record& told = Of(observer);
  std::map<std::string, SteadyMs> before = std::exchange(told.told, {});
  told.told_ready.clear();
  for (const PodRecord& peer : set.peers) {
    const auto since = before.find(peer.id());
    told.told[peer.id()] = since == before.end() ? world_.now() : since->second;
    before.erase(peer.id());
    if (peer.ready) told.told_ready.insert(peer.id());
  }
  told.told_terminating.clear();
  for (const PodRecord& pod : set.terminating) told.told_terminating.insert(pod.id());
  if (!before.empty()) left_at_ = world_.now();
  for (const auto& process : world_.processes()) {
    if (!process->alive || process.get() == &observer) continue;
    Record& record = Of(*process);
    if (!told.told.contains(world_.IdOf(*process))) {
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

bool Witness::Knows(const Process& at, const Process& other, SteadyMs for_ms) {
  const auto& told = Of(at).told;
  const auto since = told.find(world_.IdOf(other));
  return since != told.end() && world_.now() - since->second >= for_ms;
}

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
    heard = heard || (Of(other).synced_at && !other.paused &&
                      world_.network().Reachable(process.address, other.address) &&
                      world_.network().ResetFor(process.address, other.address) < kTakenForGone &&
                      !other.draining && Knows(process, other, 0));
    add(other);
  }
  if (!heard) {
    CheckHandedToOld(process, others);
    return;
  }
  // Nor can it know of one that was lost with its node since, and had been handed everything.
  for (const auto& other : world_.processes()) {
    if (other->gone_at && world_.now() - *other->gone_at <= kUnnoticed) add(*other);
  }
  for (const auto& [key, seen] : Of(process).seen) {
    if (seen.forgotten) continue;  // nor does it hold that itself
    if (others[key].version >= seen.version) continue;
    // Who does not hold what was deleted need not know of it.
    const bool fine = seen.removed ? MayBeDead(written_.at(seen.write)) || !HeldLive(process, key)
                                   : MayDrop(key, seen);
    if (fine) continue;
    Fail(NameOf(process) + " ended without handing over " + seen.version.ToString() +
         (seen.removed ? ", a delete" : ""));
    return;
  }
}

// By another that runs and has the data.
bool Witness::HeldLive(const Process& but, std::uint64_t key_hash) {
  const auto& [type, key] = keys_[key_hash];
  const std::vector<int> pods = world_.Running();
  return std::any_of(pods.begin(), pods.end(), [&, &type = type, &key = key](int pod) {
    const Process& other = world_.process(pod);
    const EntryRef held = other.cache->Peek(type, key);
    return &other != &but && Of(other).synced_at && held && !held->tombstone();
  });
}

// With only old services at hand, these have been told everything that can be told, but for what
// others of ours hold, who drain as well.
void Witness::CheckHandedToOld(const Process& process, const Holdings& others) {
  for (const auto& [pod, address] : world_.old_pods()) {
    if (!Of(process).told.contains("uid-" + std::to_string(pod))) continue;
    const auto& values = world_.network().old().values().at(address);
    std::string missing;
    ForEach(*process.cache, [&](const Entry& entry) {
      if (entry.tombstone() || entry.expires_at() != 0) return;
      const auto held = others.find(entry.key_hash());
      if (held != others.end() && held->second.version >= entry.version()) return;
      const auto found = values.find({entry.type(), std::string(entry.key())});
      const std::string text = Text(entry.key(), entry.version());
      if (found == values.end() || found->second != entry.value()) missing = text;
    });
    if (missing.empty()) continue;
    Fail(NameOf(process) + " ended without telling pod-" + std::to_string(pod) +
         ", an old service, of " + missing);
  }
}

// --- contact ---

void Witness::Heard(const Process& at, const Process& from) {
  Contact& contact = Of(at).heard[from.serial];
  if (world_.now() - contact.last > kUnheard) contact.since = world_.now();
  contact.last = world_.now();
}

bool Witness::Hears(const Process& at, const Process& from, SteadyMs for_ms) {
  const auto& heard = Of(at).heard;
  const auto found = heard.find(from.serial);
  return found != heard.end() && world_.now() - found->second.last <= kUnheard &&
         world_.now() - found->second.since >= for_ms;
}

// --- bounds ---

void Witness::Sent(Process& from, const Process& to, const sync::Message& message) {
  std::size_t bytes = 0;
  if (const auto* entries = sync::EntriesOf(message)) {
    for (const EntryRef& entry : *entries) bytes += entry->packed_size();
  }
  // One chunk, and the one entry that went over it, which is no large one.
  if (bytes > sync::kChunkBytes + sync::kFragmentBytes) {
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
           world_.network().ConnectedFor(joiner, from) < 0;
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

}  // namespace podmirror::sim
