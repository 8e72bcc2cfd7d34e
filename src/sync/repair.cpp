#include "sync/repair.h"

#include <algorithm>
#include <utility>

namespace podmirror::sync {
namespace {

// How old what others wrote may be here while we are leaving.
constexpr std::int64_t kLeavingMs = 250;
// After a pass that got stuck the other peers have their turn for this long.
constexpr std::int64_t kTurnMs = 250;

}  // namespace

void Repair::Step(Link& link, Now now) {
  if (link.legacy()) {
    StepLegacy(link, now);
    return;
  }
  LinkPasses& passes = link.passes();
  const std::optional<Pass>& pass = passes.pass();
  const bool done = pass && pass->done();
  if (done && !pass->lacks()) {
    End(link, now);
  } else if (done || passes.Stuck(now.steady)) {
    TellDropped(link);
    // A peer that answers no pass must not keep all others from one, see MayBegin.
    passes.Abandon(done ? now.steady : now.steady + kTurnMs);
  }
  if (!pass && Due(link, now)) Begin(link, now);
}

bool Repair::Due(const Link& link, Now now) const {
  const bool has_data = self_.synced || (self_.draining && self_.took);
  if (!has_data || !link.synced()) return false;
  // What batches are still to bring, a pass would bring twice: a drain may not have the time.
  const Run& run = link.run();
  if (self_.draining && !run.broken() && !run.Flushed(writes_.backlog())) return false;
  if (link.passes().Due(now.steady)) return true;
  if (!self_.leaving || now.steady - link.passes().contact_at() < kLeavingMs) return false;
  // The oldest has what any of them has.
  const auto& links = peers_.by_age();
  const auto first =
      std::find_if(links.begin(), links.end(), [](const Link* other) { return other->synced(); });
  return *first == &link;
}

void Repair::Begin(Link& link, Now now) {
  if (link.passes().pass() || !MayBegin(link)) return;
  link.BeginPass(next_pass_++, self_.hlc.Next(now.wall), writes_.backlog(), now.steady);
}

// During a pass with a peer of a higher floor that floor counts as ours, see DeadFloor. Another
// pass at the same time would not get what is alive and at or below it, and would not bring it
// later.
bool Repair::MayBegin(const Link& link) const {
  const std::uint64_t ours = self_.cache.purge_floor();
  const bool higher = link.peer().purge_floor > ours;
  const auto& links = peers_.by_age();
  return std::none_of(links.begin(), links.end(), [&](const Link* other) {
    const std::optional<Pass>& pass = other->passes().pass();
    return pass && (higher || pass->start().peer_floor > ours);
  });
}

void Repair::End(Link& link, Now now) {
  const Pass& pass = *link.passes().pass();
  const bool restart = link.run().broken();
  const std::uint64_t received = pass.received();
  const std::uint64_t sent = pass.sent();
  const std::uint64_t peer_floor = pass.start().peer_floor;
  const std::uint64_t dead_floor = std::max(pass.floor(), link.peer().purge_floor);
  TellDropped(link);
  link.EndPass(now.steady, NextAt(now));
  writes_.Covered(link, dead_floor);
  // Now we have had all that it had, and nothing that was dead there.
  self_.cache.RaiseFloor(peer_floor);
  if (received + sent == 0) return;
  self_.Emit(EventKind::kRepairDone, link.record().name, restart ? "connect" : "periodic",
             {{"received", received}, {"sent", sent}});
}

// Every link its own moment within the last tenth of the interval, so that they do not all fall on
// the same one.
SteadyMs Repair::NextAt(Now now) {
  const std::int64_t interval = self_.options.repair_interval_ms;
  const auto jitter = self_.random() % static_cast<std::uint64_t>(interval / 10 + 1);
  return now.steady + interval - static_cast<std::int64_t>(jitter);
}

void Repair::TellDropped(const Link& link) {
  const std::optional<Pass>& pass = link.passes().pass();
  if (!pass || pass->dropped() == 0) return;
  self_.Emit(EventKind::kDeadDropped, link.record().name, {}, {{"entries", pass->dropped()}});
}

// --- legacy peers ---

void Repair::StepLegacy(Link& link, Now now) {
  LinkPasses& passes = link.passes();
  if (!passes.legacy()) {
    if (passes.Due(now.steady) && OldestSynced()) {
      passes.BeginLegacy(next_pass_++, self_.hlc.Next(now.wall));
    }
    return;
  }
  if (!passes.legacy()->done()) return;
  const std::uint64_t sent = passes.legacy()->sent();
  passes.EndLegacy(NextAt(now));
  if (sent == 0) return;
  self_.Emit(EventKind::kRepairDone, link.record().name, "hellorpc", {{"sent", sent}});
}

bool Repair::OldestSynced() const {
  const auto& links = peers_.by_age();
  return self_.synced && std::none_of(links.begin(), links.end(), [this](const Link* link) {
           return link->synced() && !link->duplicate() && peers_.Elder(*link);
         });
}

void Repair::OnLegacyCopy(Link& link, const FetchReply& reply, Now now) {
  LinkPasses& passes = link.passes();
  if (!passes.legacy()) return;
  if (reply.failure.empty()) {
    passes.legacy()->OnFetchReply(reply);
  } else {
    passes.Abandon(NextAt(now));
  }
}

// --- what arrives ---

bool Repair::OnMessage(Link& link, const Message& message, WallMs expired_by, Now now) {
  LinkPasses& passes = link.passes();
  const auto* pushed = std::get_if<PushReply>(&message);
  if (passes.legacy()) {
    if (pushed != nullptr) passes.legacy()->OnPushReply(*pushed);
    return true;
  }
  if (!passes.pass()) return true;
  Pass& pass = *passes.pass();
  passes.Progress(now.steady);
  if (const auto* sums = std::get_if<Sums>(&message)) pass.OnSums(*sums, self_.cache);
  if (const auto* reply = std::get_if<OfferReply>(&message)) {
    pass.OnOfferReply(*reply, self_.cache, expired_by);
  }
  if (pushed != nullptr) pass.OnPushReply(*pushed);
  return !pass.broken();
}

bool Repair::OnFragment(Link& link, const Fragment& fragment, const Assembly::Taken& taken,
                        Now now) {
  Pass& pass = *link.passes().pass();
  LargeExchange* large = pass.large();
  if (taken.broken) return false;
  if (large != nullptr && !large->OnFragment(fragment, taken, now.steady)) return false;
  pass.LargeUsed();
  link.passes().Progress(now.steady);
  return true;
}

void Repair::OnWriteFragment(Link& link, const EntryId& write, Now now) {
  std::optional<Pass>& pass = link.passes().pass();
  if (!pass || pass->large() == nullptr) return;
  link.passes().Progress(now.steady);  // it may wait for this write
  if (link.run().large().bringing() == write) return;
  pass->large()->Written(write);
  pass->LargeUsed();
}

bool Repair::OnFragmentReply(Link& link, const FragmentReply& reply, Now now) {
  std::optional<Pass>& pass = link.passes().pass();
  if (!pass || pass->large() == nullptr) return true;
  const Transfer::Step step = pass->large()->OnReply(reply, now.steady);
  pass->LargeUsed();
  link.passes().Progress(now.steady);
  return step != Transfer::Step::kBroken;
}

// We have had everything up to our floor. None for a copy: a joiner takes what it is given. While a
// pass with a peer of a higher floor is under way, that counts as ours for all but the pass itself:
// what came behind its back would not be found out by it.
std::optional<std::uint64_t> Repair::DeadFloor(const Message& message, const Link* from) const {
  if (std::holds_alternative<FetchReply>(message)) return std::nullopt;
  const auto* fragment = std::get_if<Fragment>(&message);
  const bool write = fragment != nullptr ? fragment->write : std::holds_alternative<Batch>(message);
  std::uint64_t floor = self_.cache.purge_floor();
  for (const Link* link : peers_.by_age()) {
    const std::optional<Pass>& pass = link->passes().pass();
    if (!pass || (link == from && !write)) continue;
    floor = std::max(floor, pass->start().peer_floor);
  }
  return floor;
}

// --- what goes out ---

bool Repair::HasNext(const Link& link, Now now) const {
  if (link.legacy()) return link.passes().legacy() && link.passes().legacy()->HasNext();
  const std::optional<Pass>& pass = link.passes().pass();
  if (!pass) return false;
  const LargeExchange* large = pass->large();
  return large != nullptr ? large->HasNext(WriteOn(link), now.steady) : pass->HasNext();
}

// The large write that fragments bring to its end, unless the link is lost.
std::optional<EntryId> Repair::WriteOn(const Link& link) const {
  const LargeWrites& large = link.run().large();
  return large.FallenOut(writes_.backlog()) ? std::nullopt : large.bringing();
}

Outgoing Repair::Next(Link& link, Now now) {
  LinkPasses& passes = link.passes();
  std::optional<Message> request;
  if (passes.legacy()) {
    request = passes.legacy()->Next(self_.cache, now.wall);
  } else if (passes.pass()) {
    Pass& pass = *passes.pass();
    const std::optional<EntryId> write = WriteOn(link);
    LargeExchange* large = pass.large();
    if (large != nullptr && large->HasNext(write, now.steady)) {
      // Whether it goes on or waits for others, who do.
      passes.Progress(now.steady);
      const bool may_push = !link.run().large().unanswered();
      LargeExchange::Outgoing next =
          large->Next(self_.cache, assembly_, link.conn(), write, may_push, now.steady);
      pass.LargeUsed();
      if (auto* part = std::get_if<FragmentRequest>(&next)) return Message(*part);
      if (auto* slice = std::get_if<Slice>(&next)) return Question{std::move(*slice), {}};
    }
    request = pass.Next(self_.cache);
  }
  if (request) return std::move(*request);
  return {};
}

}  // namespace podmirror::sync
