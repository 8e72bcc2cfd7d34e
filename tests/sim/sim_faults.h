// Faults brings a plan's faults upon a world, one after the other at random times, and takes each
// back after a while.
// Thread safety: none; one thread.
#pragma once

#include <functional>
#include <set>

#include "sim/sim_plan.h"
#include "sim/sim_world.h"

namespace podmirror::sim {

class Faults {
 public:
  // write: a write that this pod is to take now. World and plan must outlive it.
  Faults(SimWorld& world, const Plan& plan, std::function<void(int pod)> write)
      : world_(world), time_(world.time()), plan_(plan), write_(std::move(write)) {}

  // The first fault comes now, and one after the other until Stop.
  void Next();
  // What has begun goes on to its end.
  void Stop();
  // A new pod's record, at a new address unless one is given.
  int NewPod() { return NewPod(next_address_++); }

 private:
  int NewPod(int address);
  bool Spare(int pod) const;
  bool Mortal(int pod) const;
  int AnyPod();
  void Do(Fault fault);
  void DoMild(Fault fault, int a, int b, SteadyMs soon);
  void DoAround(Fault fault, int a, int b, SteadyMs soon);
  void Hide(int pod, SteadyMs soon);
  void SlowAround(int pod, SteadyMs for_ms);
  void CutOneWay(int from, int to, SteadyMs soon);
  void Away(int pod);
  void LastWords(int pod);
  bool Exists(int pod) const;
  void Restart(int pod);
  void Relist(int pod);
  void Replace(int old);
  void StartNew(int address);
  void Roll(int old);
  void End(int pod);
  void Await(int pod, int old, SteadyMs until);
  void AwaitEnd(int old);
  void DeleteEnded(int pod);

  SimWorld& world_;
  SimTime& time_;
  const Plan& plan_;
  const std::function<void(int)> write_;
  bool faulting_ = true;
  std::set<int> ended_;  // pods that have ended, and have records still
  int next_pod_ = 1;
  int next_address_ = 1;
  SteadyMs all_back_at_ = 0;  // nobody is away, and all have met
};

}  // namespace podmirror::sim
