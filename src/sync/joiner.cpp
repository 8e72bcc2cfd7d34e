#include "sync/joiner.h"

#include <algorithm>
#include <utility>

namespace podmirror::sync {

JoinView Joiner::View(Now now) const {
  JoinView view;
  view.set_known = peers_.known();
  view.discovery_error = peers_.error();
  view.elapsed_ms = waited_ms_;
  view.copied = copied_;
  view.legacy_copied = legacy_copied_;
  for (const Link* link : peers_.by_age()) {
    if (link->duplicate()) continue;
    JoinPeer peer;
    peer.id = link->id();
    peer.name = link->record().name;
    peer.reached = link->open();
    peer.failed = link->connection().failures() > 0;
    peer.record = link->record().terminating  ? JoinPeer::Record::kTerminating
                  : link->record().ready      ? JoinPeer::Record::kReady
                  : link->record().recorded() ? JoinPeer::Record::kNotReady
                                              : JoinPeer::Record::kNone;
    peer.foreign = link->foreign();
    peer.legacy = link->legacy();
    peer.synced = link->synced();
    peer.met_synced = link->peer().synced;
    peer.elder = peers_.Elder(*link);
    peer.lost = link->peer().lost;
    const auto busy = busy_until_.find(peer.id);
    peer.busy = busy != busy_until_.end() && now.steady < busy->second;
    peer.link_open = link->peer().link_open;
    peer.checked = copied_ && link->passes().Checked(now.steady);
    peer.error = link->connection().error();
    view.peers.push_back(std::move(peer));
  }
  return view;
}

bool Joiner::Step(Now now) {
  if (self_.synced) return false;
  if (copy_) {
    if (!copy_->asked || now.steady - copy_->asked_at <= kFetchStuckMs) return false;
    busy_until_[copy_->donor] = now.steady + kFetchStuckMs;
    copy_.reset();
  }
  const NodeOptions& options = self_.options;
  const JoinDecision decision =
      DecideJoin(View(now), {options.bootstrap_timeout_ms, options.bootstrap_alone});
  switch (decision.kind) {
    case JoinDecision::Kind::kWait:
      SpoilChecks();  // who waits has to look again afterwards
      break;
    case JoinDecision::Kind::kCopy:
      BeginCopy(decision.peer);
      return false;
    case JoinDecision::Kind::kVerify:
      for (const std::string& id : decision.verify) {
        Link& link = peers_.at(id);
        if (link.passes().pass()) continue;
        repair_.Begin(link, now);
        self_.ready.wakes.push_back(link.conn());
      }
      break;
    case JoinDecision::Kind::kFirst:
    case JoinDecision::Kind::kSynced:
      BecomeSynced(decision.kind == JoinDecision::Kind::kFirst, now);
      return true;
  }
  if (decision.reason != reason_) {
    reason_ = decision.reason;
    self_.Emit(EventKind::kNotReady, {}, reason_);
  }
  return false;
}

void Joiner::Waited(std::int64_t ms) {
  if (ms > kLongestStepMs) SpoilChecks();  // streams may have been lost meanwhile
  if (peers_.known()) waited_ms_ += std::min(ms, kLongestStepMs);
}

void Joiner::Lost(const Link& link) {
  if (copy_ && copy_->donor == link.id()) copy_.reset();
}

// --- the copy ---

void Joiner::BeginCopy(const std::string& donor) {
  const Link& link = peers_.at(donor);
  copy_ = Copy{donor};
  const std::string& name = link.record().name;
  reason_ = "copying from " + name;
  if (report_.donor != name) {
    report_.donor = name;
    self_.Emit(EventKind::kBootstrapStarted, name, link.legacy() ? "hellorpc" : "podmirror.v1",
               {{"from_bucket", position_.bucket}});
  }
  self_.ready.wakes.push_back(link.conn());
}

Fetch Joiner::Next(Now now) {
  copy_->asked = true;
  copy_->asked_at = now.steady;
  return {position_};
}

bool Joiner::Admit(const Link& link, const FetchReply& reply, Now now) {
  if (!copy_ || copy_->donor != link.id() || !copy_->asked || reply.busy) return false;
  if (!reply.done && reply.next <= position_) {  // it would hold us for ever
    busy_until_[link.id()] = now.steady + kFetchStuckMs;
    copy_.reset();
    return false;
  }
  position_ = reply.next;
  if (reply.done) {
    copy_->finishing = true;
  } else {
    // The next chunk is asked for before this one is merged: both sides work at the same time.
    copy_->asked = false;
    self_.ready.wakes.push_back(link.conn());
  }
  return true;
}

bool Joiner::OnChunk(const Link& link, const FetchReply& reply, Now now) {
  if (!copy_ || copy_->donor != link.id()) return false;
  if (!reply.failure.empty()) {
    busy_until_[link.id()] = now.steady + kFetchStuckMs;
    copy_.reset();
  } else if (reply.busy) {
    busy_until_[link.id()] = now.steady + 100 + static_cast<std::int64_t>(self_.random() % 200);
    copy_.reset();
  } else {
    report_.entries += reply.entries.size();
    for (const EntryRef& entry : reply.entries) {
      report_.bytes += entry->key().size() + entry->value().size();
    }
    if (reply.done && copy_->finishing) EndCopy();
  }
  return true;
}

void Joiner::OnLarge(const Entry& entry) {
  ++report_.entries;
  report_.bytes += entry.key().size() + entry.value().size();
}

void Joiner::EndCopy() {
  (peers_.at(copy_->donor).legacy() ? legacy_copied_ : copied_) = true;
  SpoilChecks();
  copy_.reset();
}

// Only passes that begin from now on check the copy.
void Joiner::SpoilChecks() {
  for (Link* link : peers_.by_age()) link->passes().SpoilCheck();
}

// --- the end of it ---

void Joiner::BecomeSynced(bool first, Now now) {
  self_.synced = true;
  // The donor of a copy that came to no end: what we have of it is not its data.
  if (first && !legacy_copied_) report_.donor.clear();
  reason_.clear();
  report_.ms = now.steady - since_;
  self_.Emit(EventKind::kBootstrapDone, report_.donor, report_.donor.empty() ? "first" : "copied",
             {{"entries", report_.entries},
              {"bytes", report_.bytes},
              {"ms", static_cast<std::uint64_t>(report_.ms)}});
  if (!self_.draining) self_.Emit(EventKind::kReady, {});
}

BootstrapReport Joiner::Report(Now now) const {
  BootstrapReport report = report_;
  if (!self_.synced) report.ms = now.steady - since_;
  return report;
}

}  // namespace podmirror::sync
