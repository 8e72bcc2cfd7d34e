#include "sim/sim_run.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "sim/sim_world.h"
#include "sim/witness.h"

namespace podmirror::sim {
namespace {

// Every kind of fault. A run uses about half of them, so that each is also seen without the others.
enum class Fault : std::uint8_t {
  kCrash,      // killed; the container starts again in place, its record says so later
  kNodeLost,   // gone with its kernel; the same pod comes back elsewhere in time
  kReplace,    // killed and deleted; a new pod takes its place, maybe its address
  kRoll,       // a new pod starts, becomes ready, then an old one is terminated
  kCut,        // both directions
  kCutOneWay,  //
  kHide,       // a pod is cut from all others
  kReset,
  kSlow,
  kPause,
  kJump,     // the wall clock, by up to an hour
  kSilence,  // discovery tells a daemon nothing
  kLag,      // or late
  kUnlist,   // a running pod's record is away for a while
  kAway,     // the same, and it is cut off, for about as long as tombstones are kept
};
constexpr std::array kFaults = {Fault::kCrash, Fault::kNodeLost,  Fault::kReplace, Fault::kRoll,
                                Fault::kCut,   Fault::kCutOneWay, Fault::kHide,    Fault::kReset,
                                Fault::kSlow,  Fault::kPause,     Fault::kJump,    Fault::kSilence,
                                Fault::kLag,   Fault::kUnlist,    Fault::kAway};
constexpr std::array kFaultNames = {"crash",       "node-lost", "replace", "roll",   "cut",
                                    "cut-one-way", "hide",      "reset",   "slow",   "pause",
                                    "jump",        "silence",   "lag",     "unlist", "away"};
static_assert(kFaults.size() == kFaultNames.size());

constexpr WallMs kHour = 3'600'000;
constexpr SteadyMs kJoinMs = 45'000;  // for everybody to be ready, once nothing is in the way

struct Plan {
  SimOptions world;
  int nodes = 3;
  std::vector<Fault> faults;
  SteadyMs faults_ms = 0;
  SteadyMs write_every_ms = 0;  // on average; 0 = no writes
  SteadyMs fault_every_ms = 0;
  std::uint64_t keys = 0;
  std::uint64_t value_bytes = 0;
  bool duplicate = false;
  bool short_ttl = false;
  bool skewed = false;
  bool moving = false;  // keys are written for a while, then others are

  std::string ToText() const {
    std::string text = std::to_string(nodes) + " pods, " + std::to_string(keys) + " keys, ttl " +
                       std::to_string(world.tombstone_ttl_ms / 1000) + " s, repair " +
                       std::to_string(world.repair_interval_ms / 1000) + " s, backlog " +
                       std::to_string(world.backlog_bytes) + ", faults:";
    for (const Fault fault : faults) text += std::string(" ") + kFaultNames[int(fault)];
    return text;
  }
};

Plan Draw(const RunOptions& options) {
  SimTime chance(options.seed * 2 + 1, false);
  Plan plan;
  plan.world.seed = options.seed;
  plan.world.trace = options.trace;
  plan.nodes = chance.OneIn(20) ? static_cast<int>(chance.Between(7, 12))
                                : static_cast<int>(chance.Between(2, 6));
  if (options.nodes) plan.nodes = *options.nodes;
  plan.world.tick_ms = 25 << chance.Below(3);
  plan.world.repair_interval_ms = chance.Between(2, 10) * 1000;
  plan.world.backlog_bytes = std::uint64_t{2048} << chance.Below(7);
  if (chance.OneIn(8)) plan.world.max_memory = 16'384 << chance.Below(3);
  plan.short_ttl = chance.OneIn(2);
  plan.faults_ms = chance.Between(20, 90) * 1000;
  if (plan.short_ttl) {
    // Well above all other times, as it is with people's settings.
    plan.world.tombstone_ttl_ms = chance.Between(40, 80) * 1000;
    plan.world.bootstrap_timeout_ms = 10'000;
    plan.faults_ms *= 2;
  }
  plan.write_every_ms = chance.Between(5, 400);
  plan.fault_every_ms = chance.Between(500, 4000);
  plan.keys = std::uint64_t{5} << chance.Below(7);
  plan.value_bytes = chance.OneIn(10) ? 20'000 : 300;
  plan.duplicate = chance.OneIn(3);
  plan.skewed = chance.OneIn(4);
  if (options.together) {
    plan.faults_ms = 20'000;
    plan.world.tick_ms = 100;
    plan.short_ttl = false;
    return plan;
  }
  for (const Fault fault : kFaults) {
    if (fault == Fault::kAway) continue;
    if (chance.OneIn(2)) plan.faults.push_back(fault);
  }
  // Only with short times of life somebody can be away for too long.
  if (plan.short_ttl && chance.OneIn(3)) {
    plan.faults.push_back(Fault::kAway);
    plan.faults_ms += 2 * plan.world.tombstone_ttl_ms;
  }
  plan.moving = chance.OneIn(4);
  return plan;
}

class Run {
 public:
  explicit Run(const RunOptions& options)
      : plan_(Draw(options)),
        world_(plan_.world),
        time_(world_.time()),
        witness_(world_, plan_.world) {}

  RunResult Go() {
    world_.network().Duplicate(plan_.duplicate);
    for (int i = 0; i < plan_.nodes; ++i) {
      const int pod = NewPod(next_address_++);
      if (plan_.skewed && time_.OneIn(2)) world_.SetSkew(pod, time_.Between(-kHour, kHour));
      time_.At(time_.Between(0, 3000), [this, pod] { world_.StartPod(pod); });
    }
    time_.At(1000, [this] { Work(); });
    time_.At(8000, [this] { Next(); });
    world_.RunUntil(plan_.faults_ms);
    working_ = faulting_ = false;
    Heal();
    CheckHealed();
    if (plan_.short_ttl && witness_.failures().empty()) CheckForgotten();
    return {witness_.failures(), world_.now(), writes_, plan_.ToText()};
  }

 private:
  // --- workload ---

  void Work() {
    if (!working_) return;
    const std::vector<int> serving = world_.Serving();
    if (!serving.empty()) Write(serving[time_.Below(serving.size())]);
    witness_.CheckBounds();
    time_.In(time_.Between(1, 2 * plan_.write_every_ms), [this] { Work(); });
  }

  void Write(int pod) {
    Process& process = world_.process(pod);
    const auto age = static_cast<std::uint64_t>(world_.now() / 10'000);
    const std::uint64_t first = plan_.moving ? age * plan_.keys / 8 : 0;
    const std::string key = "k" + std::to_string(first + time_.Below(plan_.keys));
    // Every value is another, so that nothing can be mistaken for something else.
    const std::string value =
        std::to_string(++writes_) + std::string(time_.Below(plan_.value_bytes), 'v');
    sync::WriteItem item;
    item.type = static_cast<std::int32_t>(time_.Below(3));
    item.key = key;
    item.value = value;
    item.remove = time_.OneIn(5);
    if (!item.remove && time_.OneIn(8)) item.ttl_ms = time_.Between(1, 20'000);
    const sync::WriteOptions options{static_cast<sync::AckLevel>(time_.Below(4)), 1000};
    const auto done = [this, &process, item, key](const sync::WriteOutcome& outcome) {
      sync::WriteItem answered = item;
      answered.key = key;
      witness_.Answered(process, answered, outcome);
    };
    // The write is in the cache before it can be answered; the witness has to look before, too.
    const sync::WriteRefusal refusal = process.driver->Write({&item, 1}, options, done);
    if (refusal == sync::WriteRefusal::kNone) witness_.Written(process, item);
  }

  // --- faults ---

  void Next() {
    if (!faulting_) return;
    if (!plan_.faults.empty()) Do(plan_.faults[time_.Below(plan_.faults.size())]);
    time_.In(time_.Between(100, 2 * plan_.fault_every_ms), [this] { Next(); });
  }

  int NewPod(int address) {
    const int pod = next_pod_++;
    world_.AddPod(pod, address);
    return pod;
  }

  // What a crash takes with it must be elsewhere: at least one more pod serves.
  bool Spare(int pod) const {
    const std::vector<int> serving = world_.Serving();
    return std::any_of(serving.begin(), serving.end(),
                       [&](int other) { return other != pod && !world_.process(other).draining; });
  }

  int AnyPod() {
    const std::vector<int> pods = world_.Pods();
    return pods[time_.Below(pods.size())];
  }

  void Do(Fault fault) {
    const int a = AnyPod();
    const int b = AnyPod();
    const SteadyMs soon = time_.OneIn(4) ? time_.Between(5000, 40'000) : time_.Between(100, 9000);
    const bool mortal = world_.running(a) && Spare(a) && !world_.process(a).draining;
    switch (fault) {
      case Fault::kCrash:
      case Fault::kNodeLost:
        if (!mortal) return;
        world_.CrashPod(a, fault == Fault::kNodeLost);
        time_.In(soon, [this, a] { Restart(a); });
        return;
      case Fault::kReplace:
        if (!mortal) return;
        world_.CrashPod(a, time_.OneIn(3));
        Replace(a);
        return;
      case Fault::kRoll:
        if (world_.running(a)) Roll(a);
        return;
      case Fault::kCut:
        if (a == b) return;
        world_.SetPartition(a, b, true);
        time_.In(soon, [this, x = world_.address(a), y = world_.address(b)] {
          world_.network().Cut(x, y, false);
          world_.network().Cut(y, x, false);
        });
        return;
      case Fault::kCutOneWay:
        if (a == b) return;
        CutOneWay(world_.address(a), world_.address(b), soon);
        return;
      case Fault::kHide:
        Hide(a, soon);
        return;
      default:
        DoMild(fault, a, b, soon);
    }
  }

  void DoMild(Fault fault, int a, int b, SteadyMs soon) {
    switch (fault) {
      case Fault::kReset:
        world_.ResetStreams(a, b);
        return;
      case Fault::kSlow:
        if (a == b) return;
        world_.network().Slow(world_.address(a), world_.address(b), time_.Between(10, 800),
                              static_cast<std::uint64_t>(time_.Between(1, 200)));
        time_.In(soon, [this, x = world_.address(a), y = world_.address(b)] {
          world_.network().Slow(x, y, 0, 0);
        });
        return;
      case Fault::kPause:
        if (!world_.running(a)) return;
        world_.PausePod(a, true);
        time_.In(soon, [this, a] {
          if (world_.running(a)) world_.PausePod(a, false);
        });
        return;
      case Fault::kJump:
        world_.SetSkew(a, time_.Between(-kHour, kHour));
        return;
      case Fault::kSilence:
        world_.Silence(a, true);
        time_.In(soon, [this, a] { world_.Silence(a, false); });
        return;
      case Fault::kLag:
        world_.Lag(a, time_.Between(500, 10'000));
        time_.In(soon, [this, a] { world_.Lag(a, 500); });
        return;
      case Fault::kUnlist:
        world_.DropRecord(a);
        time_.In(soon, [this, a] { Relist(a); });
        return;
      case Fault::kAway: {
        if (!world_.running(a) || !Spare(a)) return;
        const SteadyMs ttl = plan_.world.tombstone_ttl_ms;
        const SteadyMs away = time_.Between(ttl / 2, 2 * ttl + ttl / 2);
        const bool slowly = time_.OneIn(2);
        world_.DropRecord(a);
        Hide(a, away);
        time_.In(away, [this, a, slowly] {
          if (slowly && faulting_ && Exists(a)) SlowAround(a);
          Relist(a);
        });
        return;
      }
      default:
        return;
    }
  }

  void Hide(int pod, SteadyMs soon) {
    for (const int other : world_.Pods()) {
      if (other == pod) continue;
      CutOneWay(world_.address(pod), world_.address(other), soon);
      CutOneWay(world_.address(other), world_.address(pod), soon);
    }
  }

  // Its comparisons with the others take long, so that they overlap.
  void SlowAround(int pod) {
    for (const int other : world_.Pods()) {
      if (other == pod) continue;
      world_.network().Slow(world_.address(pod), world_.address(other), time_.Between(10, 800), 0);
      time_.In(20'000, [this, x = world_.address(pod), y = world_.address(other)] {
        world_.network().Slow(x, y, 0, 0);
      });
    }
  }

  void CutOneWay(int from, int to, SteadyMs soon) {
    world_.network().Cut(from, to, true);
    time_.In(soon, [this, from, to] { world_.network().Cut(from, to, false); });
  }

  bool Exists(int pod) const {
    const std::vector<int> pods = world_.Pods();
    return std::find(pods.begin(), pods.end(), pod) != pods.end();
  }

  void Restart(int pod) {
    if (Exists(pod) && !world_.running(pod)) world_.StartPod(pod);
  }

  void Relist(int pod) {
    if (Exists(pod)) world_.RestoreRecord(pod);
  }

  // The dead pod's record goes some time before or after the new one comes.
  void Replace(int old) {
    const int address = time_.OneIn(2) ? world_.address(old) : next_address_++;
    time_.In(time_.Between(0, 3000), [this, old] {
      if (Exists(old) && !world_.running(old)) world_.DeletePod(old);
    });
    time_.In(time_.Between(0, 6000), [this, address] {
      const int pod = NewPod(address);
      if (plan_.skewed && time_.OneIn(2)) world_.SetSkew(pod, time_.Between(-kHour, kHour));
      world_.StartPod(pod);
    });
  }

  // As a Deployment does with maxSurge 1: the new one is Ready before the old one is terminated.
  void Roll(int old) {
    const int pod = NewPod(next_address_++);
    world_.StartPod(pod);
    Await(pod, old, world_.now() + 60'000);
  }

  void Await(int pod, int old, SteadyMs until) {
    if (!world_.running(old) || !faulting_ || world_.now() > until) return;
    if (world_.running(pod) && world_.record_ready(pod)) {
      world_.DrainPod(old);
      AwaitEnd(old);
      return;
    }
    time_.In(200, [this, pod, old, until] { Await(pod, old, until); });
  }

  void AwaitEnd(int old) {
    if (!Exists(old)) return;
    if (!world_.running(old)) {
      world_.DeletePod(old);
      return;
    }
    time_.In(500, [this, old] { AwaitEnd(old); });
  }

  // --- afterwards ---

  // Everything works again; nobody is started or stopped.
  void Heal() {
    world_.Trace(0, "healed");
    world_.network().HealAll();
    for (const int pod : world_.Pods()) {
      if (!world_.listed(pod)) world_.RestoreRecord(pod);
      if (world_.running(pod) && world_.process(pod).paused) world_.PausePod(pod, false);
      if (!plan_.skewed) world_.SetSkew(pod, time_.Between(-500, 500));
    }
    world_.HealDiscovery();
  }

  // Streams are found dead and dialled again within some seconds; then one repair interval.
  SteadyMs HealingMs() const { return 12'000 + plan_.world.repair_interval_ms; }

  void CheckHealed() {
    const SteadyMs healed = world_.now();
    const std::vector<int> served = world_.Serving();
    world_.RunUntil(healed + HealingMs());
    std::vector<int> still;
    for (const int pod : served) {
      const auto now = world_.Serving();
      if (std::find(now.begin(), now.end(), pod) != now.end()) still.push_back(pod);
    }
    CheckSame(still);
    for (const int pod : world_.Pods()) {
      if (!world_.running(pod)) world_.StartPod(pod);
    }
    world_.RunUntil(world_.now() + kJoinMs + plan_.world.bootstrap_timeout_ms);
    for (const int pod : world_.Running()) {
      const sync::NodeStatus status = world_.driver(pod).Status();
      if (!status.ready && !world_.process(pod).draining) {
        witness_.Fail("pod-" + std::to_string(pod) + " is not ready: " + status.reason);
      }
    }
    CheckSame(world_.Serving());
    witness_.CheckDigests();
  }

  void CheckSame(const std::vector<int>& pods) {
    const SteadyMs ready_by = world_.now() - HealingMs();
    // All forget tombstones at about the same time, not at the same instant.
    const SteadyMs until = world_.now() + 1000;
    while (!witness_.Same(pods) && world_.now() < until) world_.RunUntil(world_.now() + 100);
    witness_.CheckConverged(pods);
    witness_.CheckNothingLost(pods, ready_by);
  }

  // With everybody in contact, no tombstone outlives tombstone-ttl by more than some steps of it.
  void CheckForgotten() {
    const std::int64_t ttl = plan_.world.tombstone_ttl_ms;
    world_.RunUntil(world_.now() + ttl + ttl / 4 + 2 * plan_.world.repair_interval_ms + 20'000);
    witness_.CheckNoTombstones();
    CheckSame(world_.Serving());
    witness_.CheckDigests();
  }

  const Plan plan_;
  SimWorld world_;
  SimTime& time_;
  Witness witness_;
  bool working_ = true;
  bool faulting_ = true;
  int next_pod_ = 1;
  int next_address_ = 1;
  std::uint64_t writes_ = 0;
};

}  // namespace

RunResult RunSeed(const RunOptions& options) { return Run(options).Go(); }

}  // namespace podmirror::sim
