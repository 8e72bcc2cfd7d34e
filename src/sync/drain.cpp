#include "sync/drain.h"

namespace podmirror::sync {

void Drain::Begin(Now now) {
  self_.draining = true;
  began_at_ = now.steady;
  self_.Emit(EventKind::kDraining, {});
  HandOver(now);
  for (Link* link : peers_.by_age()) link->connection().RetryNow();
}

void Drain::HandOver(Now now) {
  if (!self_.draining) return;
  hlc_ = self_.hlc.Next(now.wall);
  for (Link* link : peers_.by_age()) link->passes().Want();
}

bool Drain::Done() const {
  // An unsynced node has accepted no write, but peers may have left theirs to it.
  if (!self_.synced && !self_.took) return true;
  bool flushed = true;
  bool any_open = false;
  bool any_v1 = false;
  bool any_stays = false;  // does not drain itself
  bool passed = false;
  bool passed_to_one_that_stays = false;
  bool may_come = false;    // somebody whom we do not reach now, but may yet
  bool old_untold = false;  // an old service that has not been told all, and may yet
  for (const Link* link : peers_.by_age()) {
    if (link->duplicate() || link->connection().refused()) continue;
    if (!link->open()) {
      if (link->record().terminating) continue;  // it ends, too: nobody waits for it
      const bool gone = link->connection().Gone(began_at_);
      may_come = may_come || !gone;
      old_untold = old_untold || (!gone && link->connection().was_legacy());
      continue;
    }
    // What a run that restarted has left out, the pass with whoever is synced hands over.
    flushed = flushed && (link->run().broken() || link->run().Flushed(writes_.backlog()));
    old_untold = old_untold || (link->legacy() && link->passes().told() < hlc_);
    any_open = true;
    any_v1 = any_v1 || !link->legacy();
    const bool stays = !link->legacy() && !link->peer().draining;
    const bool has_passed = link->passes().contact() >= hlc_;
    any_stays = any_stays || stays;
    passed = passed || has_passed;
    passed_to_one_that_stays = passed_to_one_that_stays || (has_passed && stays);
  }
  // With nobody at hand we go on trying. One of ours that has everything brings it to the others.
  // An old service does not: without one of ours, each has to be told what others have left to us.
  if (!any_open) return !may_come;
  if (any_stays) return flushed && passed_to_one_that_stays;
  return flushed && (any_v1 ? passed : !old_untold);
}

}  // namespace podmirror::sync
