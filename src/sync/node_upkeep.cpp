// The part of Node that moves things on as time passes: links, repair, joining, drain.
#include <algorithm>
#include <tuple>

#include "sync/node.h"

namespace podmirror::sync {
namespace {

constexpr std::int64_t kFloorLookMs = 1000;
constexpr std::int64_t kLongestTickMs = 1000;

}  // namespace

void Node::Tick(Now now) {
  // A process that was stopped has not waited for anybody meanwhile.
  if (set_) bootstrap_.waited_ms += std::min(now.steady - ticked_at_, kLongestTickMs);
  ticked_at_ = now.steady;
  StepClocks(now);
  for (Link* link : by_age_) StepLink(now, *link);
  StepSessions(now);
  waiters_.Tick(now.steady, ready_.completions);
  StepJoin(now);
  if (now.steady >= floor_due_) {
    floor_due_ = now.steady + kFloorLookMs;
    AdvanceFloor(now);
  }
}

// Does whatever is due on a link and wakes its stream if there is something to send.
void Node::StepLink(Now now, Link& link) {
  if (link.DialDue(now.steady)) {
    const ConnId conn = next_conn_++;
    link.Dialled(conn, now.steady);
    link_by_conn_[conn] = link.id();
    ready_.dials.push_back({conn, link.record(), link.legacy()});
    return;
  }
  if (link.TimedOut(now.steady)) {
    ready_.closes.push_back(link.conn());
    const bool silent = link.open();
    DropLink(now, link, Code::kDeadline,
             silent ? "nothing heard from it for 4.5 s" : "no answer within 2 s");
    return;
  }
  if (!link.open()) return;
  StepPass(now, link);
  if (LinkHasNext(now, link)) ready_.wakes.push_back(link.conn());
}

bool Node::MayPass(const Link& link) const { return synced_ && link.synced(); }

// Every link its own moment within the last tenth of the interval, so that they do not all fall on
// the same one.
SteadyMs Node::NextPassAt(Now now) {
  const std::int64_t interval = options_.repair_interval_ms;
  const auto jitter = random_() % static_cast<std::uint64_t>(interval / 10 + 1);
  return now.steady + interval - static_cast<std::int64_t>(jitter);
}

void Node::StepLegacyPass(Now now, Link& link) {
  const auto legacy = legacy_passes_.find(link.id());
  if (legacy == legacy_passes_.end()) {
    if (link.PassDue(now.steady) && OldestSynced()) {
      legacy_passes_.emplace(link.id(), LegacyPass(next_pass_++));
    }
    return;
  }
  if (!legacy->second.done()) return;
  const std::uint64_t sent = legacy->second.sent();
  legacy_passes_.erase(legacy);
  link.AbandonPass(NextPassAt(now));
  if (sent > 0) Emit(EventKind::kRepairDone, link.record().name, "hellorpc", {{"sent", sent}});
}

void Node::StepPass(Now now, Link& link) {
  if (link.legacy()) {
    StepLegacyPass(now, link);
    return;
  }
  if (link.pass() && link.pass()->done() && !link.pass()->lacks()) {
    const Pass& pass = *link.pass();
    const bool restart = link.restart_pending();
    const std::uint64_t received = pass.received();
    const std::uint64_t sent = pass.sent();
    const std::uint64_t peer_floor = pass.peer_floor();
    TellDropped(link);
    link.EndPass(now.steady, NextPassAt(now));
    CreditAcks(link, 1, link.covered());
    // Now we have had all that it had, and nothing that was dead there.
    cache_.RaiseFloor(peer_floor);
    if (received + sent > 0) {
      Emit(EventKind::kRepairDone, link.record().name, restart ? "connect" : "periodic",
           {{"received", received}, {"sent", sent}});
    }
  } else if (link.PassStuck(now.steady) || (link.pass() && link.pass()->done())) {
    TellDropped(link);
    link.AbandonPass(now.steady);
  }
  if (!link.pass() && link.PassDue(now.steady) && MayPass(link) && MayBegin(link)) {
    BeginPass(now, link);
  }
}

// During a pass with a peer of a higher floor that floor counts as ours, see DeadFloor. Another
// pass at the same time would not get what is alive and at or below it, and would not bring it
// later.
bool Node::MayBegin(const Link& link) const {
  const bool higher = link.peer_floor() > cache_.purge_floor();
  return std::none_of(by_age_.begin(), by_age_.end(), [&](const Link* other) {
    return other->pass() && (higher || other->pass()->peer_floor() > cache_.purge_floor());
  });
}

void Node::TellDropped(const Link& link) {
  if (!link.pass() || link.pass()->dropped() == 0) return;
  Emit(EventKind::kDeadDropped, link.record().name, {}, {{"entries", link.pass()->dropped()}});
}

void Node::BeginPass(Now now, Link& link) {
  link.BeginPass(next_pass_++, hlc_.Next(now.wall), backlog_, now.steady);
}

bool Node::OldestSynced() const {
  if (!synced_) return false;
  return std::none_of(by_age_.begin(), by_age_.end(), [this](const Link* link) {
    return link->synced() && !link->duplicate() && Elder(*link);
  });
}

void Node::StepSessions(Now now) {
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    const auto& [conn, session] = *it++;
    const bool alive = session.accepted ? now.steady - session.heard_at <= kSilenceMs
                                        : now.steady - session.opened_at <= kSessionHelloMs;
    if (alive) continue;
    ready_.closes.push_back(conn);
    EndSession(conn);
  }
}

// --- joining ---

bool Node::Elder(const Link& link) const {
  return std::make_tuple(link.process_started_ms(), std::cref(link.uid()), link.incarnation()) <
         std::make_tuple(options_.process_started_ms, std::cref(options_.self.uid), incarnation_);
}

JoinView Node::ViewForJoin(Now now) const {
  JoinView view;
  view.set_known = set_.has_value();
  view.unknown_reason = discovery_error_;
  view.elapsed_ms = bootstrap_.waited_ms;
  view.copied = bootstrap_.copied;
  view.legacy_copied = bootstrap_.legacy_copied;
  for (const Link* link : by_age_) {
    if (link->duplicate()) continue;
    JoinPeer peer;
    peer.id = link->id();
    peer.name = link->record().name;
    peer.reached = link->open();
    peer.failed = link->failed();
    peer.record_ready = link->record().ready;
    peer.recorded = link->record().recorded();
    peer.foreign = link->foreign();
    peer.legacy = link->legacy();
    peer.synced = link->synced();
    peer.elder = Elder(*link);
    peer.lost = link->lost();
    const auto busy = bootstrap_.busy_until.find(peer.id);
    peer.busy = busy != bootstrap_.busy_until.end() && now.steady < busy->second;
    peer.link_open = link->link_open();
    peer.checked = bootstrap_.copied && link->Checked(now.steady);
    peer.error = link->error();
    view.peers.push_back(std::move(peer));
  }
  return view;
}

void Node::StepJoin(Now now) {
  if (synced_) return;
  if (bootstrap_.copy) {
    const Copy& copy = *bootstrap_.copy;
    if (!copy.in_flight || now.steady - copy.asked_at <= kFetchStuckMs) return;
    bootstrap_.busy_until[copy.donor] = now.steady + kFetchStuckMs;
    bootstrap_.copy.reset();
  }
  const JoinDecision decision =
      DecideJoin(ViewForJoin(now), {options_.bootstrap_timeout_ms, options_.bootstrap_alone});
  switch (decision.kind) {
    case JoinDecision::Kind::kWait:
      SpoilChecks();  // who waits has to look again afterwards
      break;
    case JoinDecision::Kind::kCopy:
      BeginCopy(now, decision.peer);
      return;
    case JoinDecision::Kind::kVerify:
      for (const std::string& id : decision.verify) {
        Link& link = links_.at(id);
        if (link.pass() || !MayBegin(link)) continue;
        BeginPass(now, link);
        ready_.wakes.push_back(link.conn());
      }
      break;
    case JoinDecision::Kind::kFirst:
    case JoinDecision::Kind::kSynced:
      BecomeSynced(now);
      return;
  }
  if (decision.reason != bootstrap_.reason) {
    bootstrap_.reason = decision.reason;
    Emit(EventKind::kNotReady, {}, decision.reason);
  }
}

void Node::BeginCopy(Now now, const std::string& donor) {
  const Link& link = links_.at(donor);
  bootstrap_.copy = Copy{donor, false, false, now.steady};
  const std::string& name = link.record().name;
  bootstrap_.reason = "copying from " + name;
  if (bootstrap_.report.donor != name) {
    bootstrap_.report.donor = name;
    Emit(EventKind::kBootstrapStarted, name, link.legacy() ? "hellorpc" : "podmirror.v1",
         {{"from_bucket", bootstrap_.position.bucket}});
  }
  ready_.wakes.push_back(link.conn());
}

void Node::EndCopy() {
  (links_.at(bootstrap_.copy->donor).legacy() ? bootstrap_.legacy_copied : bootstrap_.copied) =
      true;
  SpoilChecks();
  bootstrap_.copy.reset();
}

// Only passes that begin from now on check the copy.
void Node::SpoilChecks() {
  for (Link* link : by_age_) link->SpoilCheck();
}

void Node::BecomeSynced(Now now) {
  synced_ = true;
  bootstrap_.reason.clear();
  bootstrap_.report.ms = now.steady - bootstrap_.since;
  const BootstrapReport& report = bootstrap_.report;
  Emit(EventKind::kBootstrapDone, report.donor, report.donor.empty() ? "first" : "copied",
       {{"entries", report.entries},
        {"bytes", report.bytes},
        {"ms", static_cast<std::uint64_t>(report.ms)}});
  if (!draining_) Emit(EventKind::kReady, {});
  for (Link* link : by_age_) {
    link->HeartbeatNow();  // joiners wait for somebody who is synced
    StepLink(now, *link);
  }
}

// --- drain ---

void Node::BeginDrain(Now now) {
  if (draining_) return;
  draining_ = true;
  drain_at_ = now.steady;
  Emit(EventKind::kDraining, {});
  HandOver(now);
  for (Link* link : by_age_) {
    link->RetryNow();
    link->HeartbeatNow();
    StepLink(now, *link);
  }
}

// Only a pass that begins from now on hands over what we hold.
void Node::HandOver(Now now) {
  drain_hlc_ = hlc_.Next(now.wall);
  for (Link* link : by_age_) link->PassNow();
}

bool Node::Drained(Now now) const {
  // An unsynced node has accepted nothing that anybody would lack.
  if (!synced_) return true;
  bool handed_over = true;
  bool any_open = false;
  bool any_v1 = false;
  bool any_stays = false;  // does not drain itself
  bool passed = false;
  bool passed_to_one_that_stays = false;
  bool may_come = false;  // somebody whom we do not reach now, but may yet
  for (const Link* link : by_age_) {
    if (link->duplicate() || link->refused()) continue;
    if (!link->open()) {
      may_come = may_come || !link->Gone(drain_at_, now.steady);
      continue;
    }
    // What a run that restarted has left out, the pass with whoever is synced hands over.
    handed_over = handed_over && (link->restart_pending() || link->Flushed(backlog_));
    any_open = true;
    any_v1 = any_v1 || !link->legacy();
    const bool stays = !link->legacy() && !link->draining();
    const bool has_passed = link->passed() >= drain_hlc_;
    any_stays = any_stays || stays;
    passed = passed || has_passed;
    passed_to_one_that_stays = passed_to_one_that_stays || (has_passed && stays);
  }
  // One that has everything brings it to the others. With nobody at hand we go on trying.
  if (!any_open) return !may_come;
  return handed_over && (any_stays ? passed_to_one_that_stays : passed || !any_v1);
}

void Node::EndWaits() { waiters_.EndAll(ready_.completions); }

}  // namespace podmirror::sync
