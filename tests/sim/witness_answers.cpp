// The part of Witness that looks at what daemons say: answers to writes, and status.
#include <algorithm>

#include "sim/witness.h"

namespace podmirror::sim {
namespace {

constexpr SteadyMs kCredited = 3000;  // an acknowledgement does not take longer
constexpr SteadyMs kHeldUp = 20'000;  // a pass on a slow way may take so long, and others wait
constexpr SteadyMs kSettled = 3000;   // a stream that is older is not about to be refused or closed
constexpr SteadyMs kGone = 12'000;  // a peer that is silent for longer is known to be out of reach
constexpr std::uint64_t kLastWrites = 4;  // that a status is compared with

std::uint32_t Needed(sync::AckLevel level, std::uint32_t peers) {
  switch (level) {
    case sync::AckLevel::kLocal:
      return 0;
    case sync::AckLevel::kOne:
      return std::min<std::uint32_t>(1, peers);
    case sync::AckLevel::kMajority:  // of all pods, this one counted
      return (peers + 1) / 2;
    case sync::AckLevel::kAll:
      return peers;
  }
  return peers;
}

}  // namespace

std::string Witness::ShownName(const Process& process) const {
  return options_.static_peers ? world_.IdOf(process) : NameOf(process);
}

const Process* Witness::Named(const std::string& name) const {
  for (const int pod : world_.Running()) {
    const Process& process = world_.process(pod);
    if (ShownName(process) == name) return &process;
  }
  return nullptr;
}

bool Witness::Holds(const Process& process, std::uint64_t key_hash, Version version) {
  const Holdings& seen = Of(process).seen;
  const auto found = seen.find(key_hash);
  return found != seen.end() && found->second.version >= version;
}

// --- answers ---

std::size_t Witness::CountHolders(const Process& at, const sync::WriteItem& item,
                                  const sync::WriteOutcome& outcome) {
  const std::uint64_t key_hash = KeyHash(item.type, item.key);
  const auto pending = [&](const std::string& name) {
    return std::find(outcome.pending.begin(), outcome.pending.end(), name) != outcome.pending.end();
  };
  std::set<std::string> holders;
  for (const auto& process : world_.processes()) {
    if (process->pod == at.pod || !Holds(*process, key_hash, outcome.version)) continue;
    if (!pending(ShownName(*process))) holders.insert(ShownName(*process));
  }
  // An old service knows no versions, and may have lost all since.
  for (const auto& [pod, address] : world_.old_pods()) {
    const std::string name = "pod-" + std::to_string(pod);
    const bool told = world_.network().old().Told(address, {item.type, std::string(item.key)});
    if (told && !pending(name)) holders.insert(name);
  }
  return holders.size();
}

void Witness::CheckNumbers(const Process& at, const sync::WriteOutcome& outcome) {
  const std::set<std::string> names(outcome.pending.begin(), outcome.pending.end());
  const bool fit = outcome.peers == outcome.acked + outcome.pending.size() &&
                   names.size() == outcome.pending.size() && !names.contains(ShownName(at));
  if (!fit) Fail(NameOf(at) + " gave an answer whose peers, acked and pending do not fit");
  if (outcome.met != (outcome.acked >= Needed(outcome.required, outcome.peers))) {
    Fail(NameOf(at) + " was told that " + std::string(ToString(outcome.required)) +
         (outcome.met ? " is met" : " is not met") + " by " + std::to_string(outcome.acked) +
         " of " + std::to_string(outcome.peers) + " peers");
  }
}

std::set<std::string> Witness::ListedBy(const Process& process) {
  std::set<std::string> ids;
  for (const auto& [id, since] : Of(process).told) ids.insert(id);
  for (const auto& other : world_.processes()) {
    // Whoever had its address before is itself.
    if (other->address == process.address) ids.erase(world_.IdOf(*other));
  }
  for (const Process* const foreign : world_.Foreigners()) ids.erase(world_.IdOf(*foreign));
  return ids;
}

void Witness::Answered(Process& at, const sync::WriteItem& item, const sync::WriteOptions& options,
                       SteadyMs asked_at, const sync::WriteOutcome& outcome) {
  AnsweredIf(at, item, outcome);
  CheckPending(at, item, asked_at, options.timeout_ms, outcome);
}

void Witness::AnsweredIf(const Process& at, const sync::WriteItem& item,
                         const sync::WriteOutcome& outcome) {
  const std::size_t holders = CountHolders(at, item, outcome);
  if (holders < outcome.acked) {
    Fail(NameOf(at) + " was told that " + std::to_string(outcome.acked) + " peers hold " +
         Text(item.key, outcome.version) + ", of those not pending " + std::to_string(holders) +
         " do");
  }
  CheckNumbers(at, outcome);
}

void Witness::Refused(const Process& at, sync::WriteRefusal refusal) {
  const bool full = refusal == sync::WriteRefusal::kOutOfMemory && options_.max_memory > 0;
  if (!full && !at.draining) Fail(NameOf(at) + " is ready and refuses a write");
}

// Of whom the answer did not count.
void Witness::CheckPending(const Process& at, const sync::WriteItem& item, SteadyMs asked_at,
                           SteadyMs timeout_ms, const sync::WriteOutcome& outcome) {
  const SteadyMs waited = world_.now() - asked_at;
  const std::uint64_t key_hash = KeyHash(item.type, item.key);
  const std::string_view value = item.remove ? std::string_view() : item.value;
  const auto write = written_.find(WriteHash(outcome.version, value));
  // Nobody waits for a peer that has refused the write as dead.
  const bool may_be_dead = write != written_.end() && MayBeDead(write->second);
  const bool early = !outcome.met && waited < timeout_ms && !may_be_dead;
  for (const std::string& name : outcome.pending) {
    const Process* const peer = Named(name);
    if (peer == nullptr) {
      CheckForeign(at, name);
      continue;
    }
    const SteadyMs stable = world_.network().ConnectedFor(at, *peer);
    if (early && stable >= waited + kSettled && InContact(at, *peer, waited + kSettled)) {
      Fail(NameOf(at) + " did not wait for " + name + ", which is in reach");
    }
    const auto seen = Of(*peer).seen.find(key_hash);
    const bool held = seen != Of(*peer).seen.end() && seen->second.version == outcome.version &&
                      world_.now() - seen->second.at >= kCredited;
    // One that joins takes part in no pass, and only a pass brings what the backlog has lost.
    const auto& synced_at = Of(*peer).synced_at;
    const bool synced = synced_at && world_.now() - *synced_at >= kCredited;
    // What may be dead there is not counted where a pass brings it.
    const bool may_be_dead_there = outcome.version.hlc <= peer->cache->purge_floor();
    if (held && synced && !may_be_dead_there && stable >= waited + kSettled &&
        InContact(at, *peer, waited + kSettled) && !HeldUp(at)) {
      Fail(NameOf(at) + " does not count " + name + ", which has held " +
           Text(item.key, outcome.version) + " for " + std::to_string(kCredited / 1000) + " s");
    }
  }
}

// Whether its way to anybody is slow or cut: passes run one after the other.
bool Witness::HeldUp(const Process& at) {
  const std::vector<int> running = world_.Running();
  return std::any_of(running.begin(), running.end(), [&](int pod) {
    const Process& other = world_.process(pod);
    return &other != &at && (world_.network().SlowWithin(at.address, other.address, kHeldUp) ||
                             !world_.network().Reachable(at.address, other.address));
  });
}

// A pod of another cluster cannot hold our data.
void Witness::CheckForeign(const Process& at, const std::string& name) {
  for (const Process* const foreign : world_.Foreigners()) {
    if (ShownName(*foreign) != name) continue;
    if (!Knows(at, *foreign, kGone)) continue;
    if (!world_.network().Reachable(at.address, foreign->address)) continue;
    Fail(NameOf(at) + " counts " + name + ", which is of another cluster");
  }
}

// --- status ---

void Witness::CheckAcknowledged(const Process& at, const Process& peer, std::uint64_t seq) {
  const auto& [key, version] = Of(at).own[seq - 1];
  if (Holds(peer, key, version)) return;
  const auto& [type, name] = keys_[key];
  const EntryRef held = at.cache->Peek(type, name);
  if (!held || held->version() != version) return;  // written over, or dropped as dead here, too
  // The peer has found it dead, and the next pass drops it here, too.
  if (MayDrop(key, Of(at).seen[key])) return;
  Fail(NameOf(at) + " says that " + NameOf(peer) + " has acknowledged " + Text(name, version) +
       ", which it does not hold");
}

void Witness::CheckStatus(int pod) {
  const Process& at = world_.process(pod);
  const std::size_t writes = Of(at).own.size();
  const sync::NodeStatus status = world_.driver(pod).Status();
  if (status.ready != status.reason.empty()) Fail(NameOf(at) + " is ready for a reason");
  if (Of(at).synced_at && !status.ready && !at.draining) {
    Fail(NameOf(at) + " is not ready any more: " + status.reason);
  }
  for (const sync::PeerStatus& said : world_.driver(pod).Peers()) {
    // Behind a large write that is on its way, later ones may be there.
    const bool fits = said.acked_seq <= writes && said.behind_entries <= writes - said.acked_seq &&
                      (said.behind_entries == 0) == (said.acked_seq == writes);
    if (!fits) {
      Fail(NameOf(at) + " says that of " + std::to_string(writes) + " writes " + said.record.name +
           " acknowledged " + std::to_string(said.acked_seq) + " and lacks " +
           std::to_string(said.behind_entries));
      continue;
    }
    const Process* const peer = Named(said.record.name);
    const bool open =
        said.state == sync::LinkState::kStreaming || said.state == sync::LinkState::kRepairing;
    // With another stream it speaks of another process.
    if (peer == nullptr || !open || world_.network().ConnectedFor(at, *peer) < 0) continue;
    for (std::uint64_t back = 0; back < std::min(kLastWrites, said.acked_seq); ++back) {
      CheckAcknowledged(at, *peer, said.acked_seq - back);
    }
  }
}

void Witness::CheckNobodyBehind(const std::vector<int>& pods) {
  for (const int pod : pods) {
    for (const sync::PeerStatus& said : world_.driver(pod).Peers()) {
      if (said.state == sync::LinkState::kRefused || said.behind_entries == 0) continue;
      Fail("pod-" + std::to_string(pod) + " says that " + said.record.name + " (" +
           std::string(ToString(said.state)) + ") lacks " + std::to_string(said.behind_entries) +
           " writes, and all is quiet");
    }
  }
}

}  // namespace podmirror::sim
