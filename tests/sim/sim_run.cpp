#include "sim/sim_run.h"

#include <algorithm>
#include <map>

namespace podmirror::sim {
namespace {

using Key = std::pair<std::int32_t, std::string>;

constexpr SteadyMs kFaultsMs = 60'000;

// All that is stored, tombstones included.
std::map<Key, EntryRef> Contents(const Cache& cache) {
  std::map<Key, EntryRef> contents;
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (cache.bucket_sum(bucket) == 0) continue;
    for (const EntryRef& entry : cache.Bucket(bucket)) {
      contents[{entry->type(), std::string(entry->key())}] = entry;
    }
  }
  return contents;
}

class Run {
 public:
  explicit Run(const SimOptions& options) : options_(options), world_(options) {
    world_.on_ready = [this](int pod) { CheckReadyWithData(pod); };
  }

  RunResult Go() {
    for (int pod = 1; pod <= options_.nodes; ++pod) {
      world_.At(static_cast<SteadyMs>(world_.Below(3000)), [this, pod] { Start(pod); });
    }
    world_.At(5000, [this] { Work(); });
    world_.At(8000, [this] { Fault(); });
    world_.RunUntil(kFaultsMs);
    working_ = false;
    faulting_ = false;
    world_.HealAll();
    for (int pod = 1; pod <= options_.nodes; ++pod) {
      if (!world_.running(pod)) Start(pod);
    }
    const std::map<Key, Version> held = NewestHeld();
    // Reconnecting, joining, and one repair interval with every pair.
    world_.RunUntil(kFaultsMs + 15'000 + 2 * options_.repair_interval_ms);
    CheckConverged();
    CheckNothingLost(held);
    CheckDigests();
    return {std::move(failures_), world_.now()};
  }

 private:
  void Fail(const std::string& what) { failures_.push_back(what); }

  void Start(int pod) {
    // What every serving pod holds now, whoever becomes the donor holds.
    std::map<Key, Version> base;
    std::map<Key, std::size_t> holders;
    const std::vector<int> serving = world_.Serving();
    for (const int other : serving) {
      for (const auto& [key, entry] : Contents(world_.cache(other))) {
        const auto [held, added] = base.try_emplace(key, entry->version());
        if (!added) held->second = std::min(held->second, entry->version());
        ++holders[key];
      }
    }
    std::erase_if(base, [&](const auto& item) { return holders[item.first] < serving.size(); });
    base_[pod] = std::move(base);
    world_.StartPod(pod);
  }

  // --- workload ---

  void Work() {
    if (!working_) return;
    const std::vector<int> serving = world_.Serving();
    if (!serving.empty()) Write(serving[world_.Below(serving.size())]);
    world_.At(world_.now() + 1 + static_cast<SteadyMs>(world_.Below(40)), [this] { Work(); });
  }

  void Write(int pod) {
    const std::string key = "k" + std::to_string(world_.Below(200));
    const std::string value(1 + world_.Below(300), 'v');
    sync::WriteItem item;
    item.type = static_cast<std::int32_t>(world_.Below(3));
    item.key = key;
    item.value = value;
    item.remove = world_.OneIn(5);
    if (!item.remove && world_.OneIn(10)) {
      item.ttl_ms = 1 + static_cast<std::int64_t>(world_.Below(20'000));
    }
    const sync::WriteOptions options{static_cast<sync::AckLevel>(world_.Below(4)), 1000};
    const Key id{item.type, key};
    world_.driver(pod).Write({&item, 1}, options, [this, id](const sync::WriteOutcome& outcome) {
      CheckAcknowledged(id, outcome);
    });
  }

  // --- faults ---

  void Fault() {
    if (!faulting_) return;
    const int a = 1 + static_cast<int>(world_.Below(static_cast<std::uint64_t>(options_.nodes)));
    const int b = 1 + static_cast<int>(world_.Below(static_cast<std::uint64_t>(options_.nodes)));
    const SteadyMs soon = world_.now() + 100 + static_cast<SteadyMs>(world_.Below(9000));
    switch (world_.Below(5)) {
      case 0:
        // Only what another pod holds can survive a crash.
        if (world_.running(a) && world_.Serving().size() > 1) {
          world_.CrashPod(a, world_.OneIn(2));
          world_.At(soon, [this, a] {
            if (!world_.running(a)) Start(a);
          });
        }
        break;
      case 1:
        if (a != b) {
          world_.SetPartition(a, b, true);
          world_.At(soon, [this, a, b] { world_.SetPartition(a, b, false); });
        }
        break;
      case 2:
        world_.ResetStreams(a, b);
        break;
      case 3:
        if (world_.running(a)) {
          world_.PausePod(a, true);
          world_.At(soon, [this, a] {
            if (world_.running(a)) world_.PausePod(a, false);
          });
        }
        break;
      default:
        break;
    }
    world_.At(world_.now() + 500 + static_cast<SteadyMs>(world_.Below(4000)), [this] { Fault(); });
  }

  // --- checkers: they look at caches only, not at what the core says of itself ---

  // At the moment a write is acknowledged by n peers, n other processes hold it or a newer version.
  void CheckAcknowledged(const Key& key, const sync::WriteOutcome& outcome) {
    std::uint32_t holders = 0;
    for (const auto& process : world_.processes()) {
      const EntryRef entry = SimWorld::CacheOf(*process).Peek(key.first, key.second);
      if (entry && entry->version() >= outcome.version) ++holders;
    }
    if (holders < outcome.acked + 1) {
      Fail("write " + key.second + "@" + outcome.version.ToString() + " acknowledged by " +
           std::to_string(outcome.acked) + " peers, held by " + std::to_string(holders) +
           " processes, the writer's included");
    }
  }

  void CheckReadyWithData(int pod) {
    const auto contents = Contents(world_.cache(pod));
    for (const auto& [key, version] : base_[pod]) {
      const auto found = contents.find(key);
      if (found == contents.end() || found->second->version() < version) {
        Fail("pod " + std::to_string(pod) + " ready without " + key.second + "@" +
             version.ToString());
        return;
      }
    }
  }

  // The newest version of each key that any serving pod holds.
  std::map<Key, Version> NewestHeld() {
    std::map<Key, Version> newest;
    for (const int pod : world_.Serving()) {
      for (const auto& [key, entry] : Contents(world_.cache(pod))) {
        newest[key] = std::max(newest[key], entry->version());
      }
    }
    return newest;
  }

  void CheckConverged() {
    const std::vector<int> serving = world_.Serving();
    if (serving.size() != static_cast<std::size_t>(options_.nodes)) {
      for (const int pod : world_.Running()) {
        const sync::NodeStatus status = world_.driver(pod).Status();
        if (!status.ready) Fail("pod " + std::to_string(pod) + " not ready: " + status.reason);
      }
      return;
    }
    const auto expected = Contents(world_.cache(serving[0]));
    for (const int pod : serving) {
      const auto contents = Contents(world_.cache(pod));
      for (const auto& [key, entry] : expected) {
        const auto found = contents.find(key);
        if (found == contents.end() || found->second->version() != entry->version() ||
            found->second->value() != entry->value()) {
          Fail("pods " + std::to_string(serving[0]) + " and " + std::to_string(pod) +
               " differ in " + key.second);
          return;
        }
      }
      if (contents.size() != expected.size() ||
          world_.cache(pod).digest() != world_.cache(serving[0]).digest()) {
        Fail("pods " + std::to_string(serving[0]) + " and " + std::to_string(pod) + " differ");
        return;
      }
    }
  }

  void CheckNothingLost(const std::map<Key, Version>& held) {
    for (const int pod : world_.Serving()) {
      for (const auto& [key, version] : held) {
        const EntryRef entry = world_.cache(pod).Peek(key.first, key.second);
        if (!entry || entry->version() < version) {
          Fail("pod " + std::to_string(pod) + " lost " + key.second + "@" + version.ToString());
          return;
        }
      }
    }
  }

  void CheckDigests() {
    for (const int pod : world_.Running()) {
      std::uint64_t sum = 0;
      for (const auto& [key, entry] : Contents(world_.cache(pod))) {
        sum += EntryHash(entry->key_hash(), entry->version());
      }
      if (sum != world_.cache(pod).digest()) {
        Fail("pod " + std::to_string(pod) + ": the digest is not that of its entries");
      }
    }
  }

  const SimOptions options_;
  SimWorld world_;
  bool working_ = true;
  bool faulting_ = true;
  std::map<int, std::map<Key, Version>> base_;
  std::vector<std::string> failures_;
};

}  // namespace

RunResult RunSeed(const SimOptions& options) { return Run(options).Go(); }

}  // namespace podmirror::sim
