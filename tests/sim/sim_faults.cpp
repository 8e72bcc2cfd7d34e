#include "sim/sim_faults.h"

#include <algorithm>

namespace podmirror::sim {

void Faults::Next() {
  if (!faulting_) return;
  if (!plan_.faults.empty()) Do(plan_.faults[time_.Below(plan_.faults.size())]);
  time_.In(time_.Between(100, 2 * plan_.fault_every_ms), [this] { Next(); });
}

void Faults::Stop() {
  faulting_ = false;
  while (!ended_.empty()) DeleteEnded(*ended_.begin());
}

int Faults::NewPod(int address) {
  const int pod = next_pod_++;
  world_.AddPod(pod, address);
  if (plan_.skewed && time_.OneIn(2)) world_.SetSkew(pod, time_.Between(-kHour, kHour));
  return pod;
}

// What a crash takes with it must be elsewhere: at least one more pod serves.
bool Faults::Spare(int pod) const {
  const std::vector<int> serving = world_.Serving();
  return std::any_of(serving.begin(), serving.end(), [&](int other) {
    return other != pod && !world_.process(other).draining && !world_.terminating(other);
  });
}

bool Faults::Mortal(int pod) const {
  return world_.running(pod) && Spare(pod) && !world_.process(pod).draining;
}

int Faults::AnyPod() {
  const std::vector<int> pods = world_.Pods();
  return pods[time_.Below(pods.size())];
}

void Faults::Do(Fault fault) {
  const int a = AnyPod();
  const int b = AnyPod();
  const SteadyMs soon = time_.OneIn(4) ? time_.Between(5000, 40'000) : time_.Between(100, 9000);
  switch (fault) {
    case Fault::kCrash:
    case Fault::kNodeLost:
      if (!Mortal(a)) return;
      world_.CrashPod(a, fault == Fault::kNodeLost);
      time_.In(soon, [this, a] { Restart(a); });
      return;
    case Fault::kReplace:
      if (!Mortal(a)) return;
      world_.CrashPod(a, time_.OneIn(3));
      Replace(a);
      return;
    case Fault::kRoll:
      if (world_.running(a)) Roll(a);
      return;
    case Fault::kLastWords:
      if (Mortal(a) && world_.process(a).was_ready) LastWords(a);
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

void Faults::DoMild(Fault fault, int a, int b, SteadyMs soon) {
  switch (fault) {
    case Fault::kReset:
      world_.ResetStreams(a, b);
      return;
    case Fault::kOldReset:
      world_.ResetOld(time_.OneIn(4));
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
    case Fault::kClock:
      world_.SetSkew(a, time_.Between(plan_.clock_low, plan_.clock_high));
      time_.In(soon, [this, a] { world_.SetSkew(a, time_.Between(-500, 500)); });
      return;
    default:
      DoAround(fault, a, b, soon);
  }
}

// What a pod is told, and by whom it is known.
void Faults::DoAround(Fault fault, int a, int b, SteadyMs soon) {
  switch (fault) {
    case Fault::kSilence:
      world_.Silence(a, true);
      time_.In(soon, [this, a] { world_.Silence(a, false); });
      return;
    case Fault::kLag:
      world_.Lag(a, time_.Between(500, 10'000));
      time_.In(soon, [this, a] { world_.Lag(a, 500); });
      return;
    case Fault::kBlind:
      if (a == b) return;
      world_.Blind(a, b, true);
      time_.In(soon, [this, a, b] { world_.Blind(a, b, false); });
      return;
    case Fault::kUnlist:
      world_.DropRecord(a);
      time_.In(soon, [this, a] { Relist(a); });
      return;
    case Fault::kAway:
      if (world_.running(a) && Spare(a)) Away(a);
      return;
    default:
      return;
  }
}

void Faults::Away(int pod) {
  const SteadyMs ttl = plan_.world.tombstone_ttl_ms;
  const SteadyMs away = time_.Between(ttl / 2, 2 * ttl + ttl / 2);
  // Two that take each other for gone are told apart by nothing: each drops what the other
  // accepted.
  if (plan_.story == Story::kAway && world_.now() < all_back_at_) return;
  all_back_at_ = world_.now() + away + ttl / 2;
  const bool slowly = time_.OneIn(2);
  world_.DropRecord(pod);
  Hide(pod, away);
  time_.In(away, [this, pod, slowly] {
    // Its comparisons with the others take long, so that they overlap.
    if (slowly && faulting_ && Exists(pod)) SlowAround(pod, 20'000);
    Relist(pod);
  });
}

void Faults::Hide(int pod, SteadyMs soon) {
  for (const int other : world_.Pods()) {
    if (other == pod) continue;
    CutOneWay(world_.address(pod), world_.address(other), soon);
    CutOneWay(world_.address(other), world_.address(pod), soon);
  }
}

void Faults::SlowAround(int pod, SteadyMs for_ms) {
  for (const int other : world_.Pods()) {
    if (other == pod) continue;
    world_.network().Slow(world_.address(pod), world_.address(other), time_.Between(10, 800), 0);
    time_.In(for_ms, [this, x = world_.address(pod), y = world_.address(other)] {
      world_.network().Slow(x, y, 0, 0);
    });
  }
}

void Faults::CutOneWay(int from, int to, SteadyMs soon) {
  world_.network().Cut(from, to, true);
  time_.In(soon, [this, from, to] { world_.network().Cut(from, to, false); });
}

// Cut off, it takes a write and is terminated. Then the others are in reach again, but the first
// streams are reset. Another takes its place.
void Faults::LastWords(int pod) {
  const SteadyMs terminated = time_.Between(3000, 9000);
  const SteadyMs back = terminated + time_.Between(100, 9000);
  Hide(pod, back);
  time_.In(terminated, [this, pod] {
    if (!world_.running(pod) || !world_.process(pod).was_ready) return;
    write_(pod);
    End(pod);
    StartNew(next_address_++);
  });
  time_.In(back, [this, pod] {
    if (!world_.running(pod)) return;
    SlowAround(pod, 5000);
    const SteadyMs resets = time_.Between(1, 4);
    for (SteadyMs i = 0; i < resets; ++i) {
      time_.In(time_.Between(20, 3000), [this, pod] {
        for (const int other : world_.Pods()) world_.ResetStreams(pod, other);
      });
    }
  });
}

bool Faults::Exists(int pod) const {
  const std::vector<int> pods = world_.Pods();
  return std::find(pods.begin(), pods.end(), pod) != pods.end();
}

void Faults::Restart(int pod) {
  if (Exists(pod) && !world_.running(pod) && !world_.terminating(pod)) world_.StartPod(pod);
}

void Faults::Relist(int pod) {
  if (Exists(pod)) world_.RestoreRecord(pod);
}

// The dead pod's record goes some time before or after the new one comes.
void Faults::Replace(int old) {
  const int address = time_.OneIn(2) ? world_.address(old) : next_address_++;
  time_.In(time_.Between(0, 3000), [this, old] {
    if (Exists(old) && !world_.running(old)) world_.DeletePod(old);
  });
  time_.In(time_.Between(0, 6000), [this, address] { StartNew(address); });
}

void Faults::StartNew(int address) { world_.StartPod(NewPod(address)); }

// As a Deployment does with maxSurge 1: the new one is Ready before the old one is terminated. With
// maxSurge 0, or when a pod is deleted by hand, the new one starts while the old one terminates.
void Faults::Roll(int old) {
  const bool surge = !time_.OneIn(3);
  if (!surge) End(old);
  const int pod = NewPod(next_address_++);
  world_.StartPod(pod);
  if (surge) Await(pod, old, world_.now() + 60'000);
}

// Terminated: as a rule because it was deleted. When a probe of its container failed, the record
// says nothing.
void Faults::End(int pod) {
  if (world_.process(pod).draining || world_.terminating(pod)) return;
  if (time_.OneIn(4)) {
    world_.DrainPod(pod);
  } else {
    world_.TerminatePod(pod, time_.Between(0, 3000));
  }
  AwaitEnd(pod);
}

void Faults::Await(int pod, int old, SteadyMs until) {
  if (!world_.running(old) || !faulting_ || world_.now() > until) return;
  if (world_.running(pod) && world_.record_ready(pod)) {
    End(old);
    return;
  }
  time_.In(200, [this, pod, old, until] { Await(pod, old, until); });
}

void Faults::AwaitEnd(int old) {
  if (!Exists(old)) return;
  if (!world_.running(old)) {
    // Nobody deletes the record of a pod whose node is lost, or not soon.
    ended_.insert(old);
    time_.In(faulting_ && time_.OneIn(3) ? time_.Between(0, 40'000) : 0,
             [this, old] { DeleteEnded(old); });
    return;
  }
  time_.In(500, [this, old] { AwaitEnd(old); });
}

void Faults::DeleteEnded(int pod) {
  if (ended_.erase(pod) > 0 && Exists(pod) && !world_.running(pod)) world_.DeletePod(pod);
}

}  // namespace podmirror::sim
