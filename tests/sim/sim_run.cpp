#include "sim/sim_run.h"

#include <algorithm>

#include "sim/sim_conditions.h"
#include "sim/sim_faults.h"
#include "sim/sim_plan.h"
#include "sim/sim_watchers.h"
#include "sim/sim_world.h"
#include "sim/witness.h"
#include "sim/witness_flow.h"

namespace podmirror::sim {
namespace {

constexpr SteadyMs kJoinMs = 45'000;       // for everybody to be ready, once nothing is in the way
constexpr std::uint64_t kTouchEvery = 13;  // of the writes that are no deletes, about
constexpr int kOthers = 1000;  // numbers of pods that are none of ours, and their addresses

class Run {
 public:
  explicit Run(const RunOptions& options)
      : plan_(Draw(options)),
        world_(plan_.world),
        time_(world_.time()),
        witness_(world_, plan_.world),
        faults_(world_, plan_, [this](int pod) { Write(pod); }),
        flow_(world_, witness_),
        contention_(world_, witness_,
                    [this](Process& at, const sync::WriteItem& item) { Taken(at, item); }),
        watchers_(world_, witness_, options.seed) {}

  RunResult Go() {
    world_.network().Duplicate(plan_.duplicate);
    Begin();
    time_.At(1000, [this] { Work(); });
    time_.At(1000, [this] { Contend(); });
    time_.At(8000, [this] { faults_.Next(); });
    world_.RunUntil(plan_.faults_ms);
    working_ = false;
    faults_.Stop();
    BeforeHealing();
    Heal();
    CheckHealed();
    if (plan_.short_ttl && witness_.failures().empty()) CheckForgotten();
    if (plan_.story == Story::kOld && witness_.failures().empty()) DrainLast();
    if (plan_.story != Story::kOld && witness_.failures().empty()) contention_.CheckQuiet();
    contention_.CheckHistory();
    watchers_.CheckQuiet();
    return {witness_.failures(), world_.now(), taken_, contention_.answers(), plan_.ToText()};
  }

 private:
  // --- how a story begins, and what is to be so before its faults end ---

  void Begin() {
    switch (plan_.story) {
      case Story::kLone:
        BeginLone();
        return;
      case Story::kCold:
        StartAll(plan_.nodes, 0);
        world_.Silence(time_.OneIn(2) ? 1 : static_cast<int>(time_.Between(1, plan_.nodes)), true);
        return;
      case Story::kForeign:
        for (int i = 0; i < plan_.others; ++i) {
          world_.AddForeignPod(kOthers + i, kOthers + i);
          world_.StartPod(kOthers + i);
        }
        StartAll(plan_.nodes, time_.Between(0, 6000));
        return;
      case Story::kOld:
        for (int i = 0; i < plan_.others; ++i) world_.AddOldPod(kOthers + i, kOthers + i);
        StartAll(plan_.nodes, 0);
        return;
      case Story::kSlowWays:
        BeginSlowWays();
        return;
      case Story::kClocks:
        witness_.TrustClocks();
        StartAll(plan_.nodes, 0);
        return;
      case Story::kFaults:
      case Story::kStatic:
      case Story::kDrain:
      case Story::kAway:
        StartAll(plan_.nodes, 0);
    }
  }

  void StartAll(int nodes, SteadyMs from) {
    for (int i = 0; i < nodes; ++i) {
      const int pod = faults_.NewPod();
      time_.At(from + time_.Between(0, 3000), [this, pod] { world_.StartPod(pod); });
    }
  }

  // Alone for longer than tombstone-ttl, at first without a write or for ever.
  void BeginLone() {
    const int first = faults_.NewPod();
    world_.SetSkew(first, plan_.clock_high);
    world_.StartPod(first);
    quiet_until_ = plan_.faults_ms - (time_.OneIn(3) ? time_.Between(0, plan_.faults_ms) : 0);
    time_.At(plan_.faults_ms, [this, first] {
      world_.SetSkew(first, time_.Between(-500, 500));
      StartAll(plan_.nodes - 1, world_.now() + time_.Between(0, 10'000));
    });
  }

  // One comes later, when there is something to copy.
  void BeginSlowWays() {
    const int last = plan_.nodes + 1;
    for (int a = 1; a <= last; ++a) {
      for (int b = a + 1; b <= last; ++b) {
        world_.network().Slow(a, b, plan_.way_delay, plan_.way_bytes_per_ms);
      }
    }
    StartAll(plan_.nodes, 0);
    const int late = faults_.NewPod();
    time_.At(time_.Between(30'000, 60'000), [this, late] { world_.StartPod(late); });
    contention_.SmallOnly();  // it is known what the ways can carry
    flow_.Expect(plan_.way_delay, plan_.way_bytes_per_ms, plan_.world.backlog_bytes);
  }

  void BeforeHealing() {
    if (plan_.story == Story::kSlowWays) flow_.CheckAllArrive(plan_.faults_ms + 20 * kJoinMs);
    if (plan_.story != Story::kCold) return;
    // Whoever has no answer stays not ready, and holds up nobody else for ever.
    for (const int pod : world_.Running()) {
      const sync::NodeStatus status = world_.driver(pod).Status();
      if (status.ready || world_.silenced(pod)) continue;
      witness_.Fail(NameOf(world_.process(pod)) + " is held up: " + status.reason);
    }
  }

  // --- workload ---

  void Work() {
    if (!working_) return;
    const std::vector<int> serving = world_.Serving();
    if (!serving.empty() && world_.now() >= quiet_until_) {
      Write(serving[time_.Below(serving.size())]);
    }
    Look();
    watchers_.Read();
    time_.In(time_.Between(1, 2 * plan_.write_every_ms), [this] { Work(); });
  }

  // At what need not be looked at with every message.
  void Look() {
    witness_.CheckBounds();
    const std::vector<int> running = world_.Running();
    if (!running.empty() && time_.OneIn(2)) {
      witness_.CheckStatus(running[time_.Below(running.size())]);
    }
    if (world_.now() >= look_at_) {
      look_at_ = world_.now() + 500;
      witness_.CheckExpired();
      flow_.Check();
    }
  }

  std::int64_t DrawTtl() {
    const bool long_lived = plan_.story == Story::kClocks && time_.OneIn(2);
    if (long_lived) return time_.Between(1, 24) * kHour;
    return time_.OneIn(8) ? time_.Between(1, 20'000) : 0;
  }

  std::uint64_t DrawBytes() {
    if (plan_.story != Story::kSlowWays) return time_.Below(plan_.value_bytes);
    // A third of what the ways can carry.
    const auto bytes = static_cast<std::uint64_t>(time_.Between(200'000, 3'000'000));
    const auto can = plan_.way_bytes_per_ms * static_cast<std::uint64_t>(world_.now());
    if (3 * (large_bytes_ + bytes) > can) return time_.Below(plan_.value_bytes);
    large_bytes_ += bytes;
    return bytes;
  }

  void Write(int pod) {
    Process& process = world_.process(pod);
    const auto age = static_cast<std::uint64_t>(world_.now() / 10'000);
    const std::uint64_t first = plan_.moving ? age * plan_.keys / 8 : 0;
    const std::string key = "k" + std::to_string(first + time_.Below(plan_.keys));
    // Every value is another, so that nothing can be mistaken for something else.
    const std::string value = std::to_string(++writes_) + std::string(DrawBytes(), 'v');
    sync::WriteItem item;
    item.type = static_cast<std::int32_t>(time_.Below(3));
    item.key = key;
    item.value = value;
    item.remove = time_.OneIn(5);
    if (!item.remove) item.ttl_ms = DrawTtl();
    item.touch = !item.remove && writes_ % kTouchEvery == 0;
    const EntryRef before = process.cache->Find(item.type, key, process.env->now().wall);
    const sync::WriteOptions options{static_cast<sync::AckLevel>(time_.Below(4)),
                                     time_.OneIn(4) ? 6000 : 1000};
    const std::string told = item.touch && before ? std::string(before->value()) : value;
    const auto done = [this, &process, item, key, told, options,
                       asked_at = world_.now()](const sync::WriteOutcome& outcome) {
      sync::WriteItem answered = item;
      answered.key = key;
      answered.value = told;
      if (!outcome.absent.empty()) return;
      witness_.Answered(process, answered, options, asked_at, outcome);
    };
    // The write is in the cache before it can be answered; the witness has to look before, too.
    const sync::WriteRefusal refusal = process.driver->Write({&item, 1}, options, done);
    if (refusal != sync::WriteRefusal::kNone) {
      witness_.Refused(process, refusal);
      return;
    }
    if (!item.touch) {
      Taken(process, item);
    } else if (before) {
      item.value = before->value();
      Taken(process, item);
      if (process.cache->Peek(item.type, key)->version() == before->version()) {
        witness_.Fail(NameOf(process) + " touched " + key + ", and that is what it was");
      }
    } else if (process.cache->Find(item.type, key, process.env->now().wall)) {
      witness_.Fail(NameOf(process) + " touched " + key + ", and that is back");
    }
  }

  void Taken(Process& at, const sync::WriteItem& item) {
    ++taken_;
    witness_.Written(at, item);
    flow_.Written(at, item);
  }

  // Writes on conditions; some runs are full of them.
  void Contend() {
    if (!working_) return;
    if (!world_.Serving().empty() && world_.now() >= quiet_until_) contention_.Contend();
    time_.In(time_.Between(1, 2 * contend_every_), [this] { Contend(); });
  }

  // --- afterwards ---

  // Everything works again; nobody is started or stopped.
  void Heal() {
    world_.Trace(0, "healed");
    world_.network().HealAll();
    for (const int pod : world_.Pods()) {
      if (!world_.listed(pod)) world_.RestoreRecord(pod);
      if (world_.running(pod) && world_.process(pod).paused) world_.PausePod(pod, false);
      if (!plan_.skewed && plan_.story != Story::kLone)
        world_.SetSkew(pod, time_.Between(-500, 500));
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
      if (!world_.running(pod) && !world_.terminating(pod)) world_.StartPod(pod);
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
    witness_.CheckNobodyBehind(world_.Serving());
    if (plan_.story == Story::kOld) witness_.CheckOldServices(world_.Serving());
  }

  // The last one is terminated, after a last burst, with only old services at hand.
  void DrainLast() {
    const std::vector<int> pods = world_.Serving();
    for (std::size_t i = 1; i < pods.size(); ++i) world_.DrainPod(pods[i]);
    world_.RunUntil(world_.now() + SimWorld::kGraceMs + 1000);
    if (time_.OneIn(2)) world_.ResetOld(false);
    world_.RunUntil(world_.now() + time_.Between(0, 3000));
    for (int i = 0; i < 5; ++i) Write(pods[0]);
    world_.RunUntil(world_.now() + time_.Between(0, 100));
    world_.DrainPod(pods[0]);
    world_.RunUntil(world_.now() + SimWorld::kGraceMs + 1000);
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
  Faults faults_;
  Flow flow_;
  Contention contention_;
  Watchers watchers_;
  const SteadyMs contend_every_ = time_.Between(20, 1000);
  bool working_ = true;
  SteadyMs quiet_until_ = 0;  // no writes before
  SteadyMs look_at_ = 0;
  std::uint64_t writes_ = 0;  // tried
  std::uint64_t taken_ = 0;
  std::uint64_t large_bytes_ = 0;
};

}  // namespace

RunResult RunSeed(const RunOptions& options) { return Run(options).Go(); }

}  // namespace podmirror::sim
