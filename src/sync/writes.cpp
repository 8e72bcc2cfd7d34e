#include "sync/writes.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "sync/legacy_pass.h"
#include "sync/limits.h"

namespace podmirror::sync {
namespace {

// What an entry costs beside key and value, for the decision whether a write may grow the cache.
constexpr std::uint64_t kEntryOverhead = 64;
// The memory that so many entries need fits into a processor's own cache.
constexpr std::size_t kWarmed = 256;

// 0 = never. A time to live that ends beyond the end of time ends there.
WallMs ExpiryOf(WallMs now, std::int64_t ttl_ms) {
  constexpr WallMs kLast = std::numeric_limits<WallMs>::max();
  if (ttl_ms <= 0) return 0;
  return ttl_ms > kLast - now ? kLast : now + ttl_ms;
}

std::uint64_t NeededBy(const Entry& entry) { return kEntryOverhead + entry.content_bytes(); }

// An old service can be told neither a delete nor a value that is not UTF-8, and may not take a
// large one: it cannot acknowledge a write that holds one of these.
bool LegacyTakes(const Entry& entry) {
  return !entry.tombstone() && NeededBy(entry) <= kLegacyRequestBytes && IsUtf8(entry.value());
}

}  // namespace

Drafts::Drafts(std::span<const WriteItem> items, const Cache& cache, Incarnation writer, WallMs now)
    : at(now) {
  entries.reserve(items.size());
  const Version version{0, writer};
  for (const WriteItem& item : items) {
    if (item.depends()) {
      if (touched_bytes > kMaxTouchedBytes) break;
      AddDependent(item, static_cast<std::uint32_t>(&item - items.data()), cache, version);
      continue;
    }
    entries.push_back(item.remove ? Entry::MakeTombstone(item.type, item.key, version)
                                  : Entry::Make(item.type, item.key, item.value, version,
                                                ExpiryOf(now, item.ttl_ms)));
    legacy_takes = legacy_takes && LegacyTakes(*entries.back());
  }
  if (entries.size() <= kWarmed) key_hashes = cache.Warm(entries);
}

void Drafts::AddDependent(const WriteItem& item, std::uint32_t place, const Cache& cache,
                          Version version) {
  Dependent dependent;
  dependent.touch = item.touch;
  dependent.place = place;
  if (item.touch) {
    if (const EntryRef found = cache.Find(item.type, item.key, at)) {
      dependent.on = found->version();
      dependent.entry =
          Entry::Make(item.type, item.key, found->value(), version, ExpiryOf(at, item.ttl_ms));
      touched_bytes += found->value().size();
      legacy_takes = legacy_takes && LegacyTakes(*dependent.entry);
    }
  } else {
    dependent.on = *item.found;
    dependent.entry = Entry::MakeTombstone(item.type, item.key, version);
    legacy_takes = false;
  }
  dependents.push_back(std::move(dependent));
}

std::uint64_t Writes::Grows(const Entry& entry) const {
  const EntryRef held = self_.cache.Peek(entry.type(), entry.key());
  const std::uint64_t needs = NeededBy(entry);
  const std::uint64_t has = held ? NeededBy(*held) : 0;
  return needs > has ? needs - has : 0;
}

WriteRefusal Writes::Refuses(const Drafts& drafts) const {
  if (self_.draining) return WriteRefusal::kDraining;
  if (!self_.synced) return WriteRefusal::kNotReady;
  if (drafts.touched_bytes > kMaxTouchedBytes) return WriteRefusal::kTooLarge;
  const std::uint64_t limit = self_.options.max_memory;
  if (limit == 0) return WriteRefusal::kNone;
  // What depends on what is there replaces it, and counts as not growing.
  std::uint64_t growth = 0;
  for (const EntryRef& entry : drafts.entries) growth += Grows(*entry);
  const bool fits = growth == 0 || self_.cache.memory_bytes() + growth <= limit;
  return fits ? WriteRefusal::kNone : WriteRefusal::kOutOfMemory;
}

// Merges `dependent` under this hlc, if what it depends on is there. A peer's entries are merged
// without the node's lock, but the node has seen their versions before: so hlc is above that of
// anything that comes in between.
bool Writes::Apply(Drafts& drafts, Drafts::Dependent& dependent, std::uint64_t hlc) {
  if (!dependent.entry) return false;
  Entry::SetHlc(dependent.entry, hlc);
  for (;;) {
    const ConditionalMerge done =
        self_.cache.MergeIf(dependent.entry, Condition{dependent.on}, drafts.at);
    if (done.merged) return true;
    const EntryRef& newer = done.was;
    if (!dependent.touch || !newer || newer->tombstone() || newer->expired(drafts.at) ||
        newer->version() == dependent.on) {
      return false;
    }
    // A touch keeps the value that is there now.
    const Entry& old = *dependent.entry;
    dependent.entry =
        Entry::Make(old.type(), old.key(), newer->value(), old.version(), old.expires_at());
    dependent.on = newer->version();
    drafts.legacy_takes = drafts.legacy_takes && LegacyTakes(*dependent.entry);
  }
}

void Writes::Apply(Drafts& drafts, WallMs expired_by, Now now) {
  // By one look at the clock: so they follow each other, as WriteOutcome::VersionOf wants it.
  for (EntryRef& entry : drafts.entries) Entry::SetHlc(entry, self_.hlc.Next(now.wall));
  if (drafts.key_hashes.empty()) {
    self_.cache.MergeAll(drafts.entries, expired_by);
  } else {
    self_.cache.MergeWarm(drafts.entries, drafts.key_hashes, expired_by);
  }
  std::uint64_t hlc = 0;  // 0: the last one is used up
  for (Drafts::Dependent& dependent : drafts.dependents) {
    if (hlc == 0) hlc = self_.hlc.Next(now.wall);
    if (Apply(drafts, dependent, hlc)) {
      drafts.entries.push_back(std::move(dependent.entry));
      hlc = 0;
    } else {
      drafts.absent.push_back(dependent.place);
    }
  }
}

WriteRefusal Writes::Write(Drafts& drafts, const WriteOptions& options, WriteDone done,
                           WallMs expired_by, Now now) {
  if (const WriteRefusal refusal = Refuses(drafts); refusal != WriteRefusal::kNone) return refusal;
  std::vector<EntryRef>& entries = drafts.entries;
  std::optional<Base> base;
  if (options.condition) {
    Entry::SetHlc(entries.front(), self_.hlc.Next(now.wall));
    base = ApplyIf(drafts, *options.condition, done, now);
    if (!base) return WriteRefusal::kNone;
  } else {
    Apply(drafts, expired_by, now);
  }
  if (!drafts.absent.empty()) {
    done = [done = std::move(done), absent = std::move(drafts.absent)](WriteOutcome outcome) {
      outcome.absent = absent;
      done(outcome);
    };
  }
  if (entries.empty()) {  // nothing to be acknowledged
    const auto peers = static_cast<std::uint32_t>(Counted(true).size());
    self_.ready.completions.emplace_back(std::move(done),
                                         WriteOutcome{options.ack, true, peers, peers, {}, {}, {}});
    return WriteRefusal::kNone;
  }
  Waiters::Write write{backlog_.last() + 1, backlog_.last() + entries.size(),
                       entries.back()->version(), drafts.legacy_takes};
  std::vector<Waiters::Peer> peers;
  if (base) {
    write.condition = entries.front()->key_hash();
    peers = Judges();
    // Those that terminate may hold each other for gone, and nobody else may be left to ask.
    if (peers.empty() && self_.leaving) write.gone = peers_.Terminating();
  } else {
    peers = Counted(write.legacy_takes);
  }
  Append(drafts, base);
  waiters_.Add(write, options, now.steady, std::move(peers), std::move(done),
               self_.ready.completions);
  return WriteRefusal::kNone;
}

void Writes::Append(Drafts& drafts, const std::optional<Base>& base) {
  for (EntryRef& entry : drafts.entries) {
    backlog_.Append(std::move(entry), self_.ready.dropped, base);
  }
  for (Link* link : peers_.by_age()) {
    if (link->BatchDue(backlog_)) self_.ready.wakes.push_back(link->conn());
  }
}

WriteRefusal Writes::WriteLocal(Drafts& drafts, WallMs expired_by, Now now) {
  if (const WriteRefusal refusal = Refuses(drafts); refusal != WriteRefusal::kNone) return refusal;
  Apply(drafts, expired_by, now);
  return WriteRefusal::kNone;
}

std::vector<Waiters::Peer> Writes::Counted(bool legacy_takes) const {
  std::vector<Waiters::Peer> peers;
  peers.reserve(peers_.by_age().size());
  for (const Link* link : peers_.by_age()) {
    // One that was an old service counts as such until it is met as one of ours.
    const Connection& connection = link->connection();
    const bool legacy = link->legacy() || (!link->open() && connection.was_legacy());
    if (link->duplicate() || link->foreign() || (legacy && !legacy_takes)) continue;
    peers.push_back({&link->record(), connection.reachable()});
  }
  return peers;
}

void Writes::Covered(const Link& link, std::uint64_t dead_floor) {
  const Run& run = link.run();
  waiters_.Acked(link.record(), {1, run.covered(), run.missing(), true, dead_floor}, 1,
                 self_.ready.completions);
}

// A write that the peer refused as dead stands here until a pass drops it: it is not there.
void Writes::OnAck(Link& link, const Ack& ack, Now now) {
  Run& run = link.run();
  const std::uint64_t before = run.acked();
  std::vector<std::uint64_t> dead;
  for (const std::uint32_t place : ack.dead) dead.push_back(run.NumberOf(place));
  std::vector<std::pair<std::uint64_t, Verdict>> verdicts;
  for (const auto& [place, verdict] : ack.verdicts) {
    verdicts.emplace_back(run.NumberOf(place), verdict);
  }
  if (!run.OnAck(ack.seq, now.steady)) return;
  for (const std::uint64_t number : dead) {
    waiters_.Refused(link.record(), number, self_.ready.completions);
  }
  for (const auto& [number, verdict] : verdicts) {
    waiters_.Judged(link.record(), number, verdict, self_.ready.completions);
  }
  waiters_.Acked(link.record(), {run.start(), run.acked(), run.missing()}, before + 1,
                 self_.ready.completions);
}

bool Writes::OnFragmentReply(Link& link, const FragmentReply& reply, Now now) {
  LargeWrites& large = link.run().large();
  const std::uint64_t number = large.sending();
  const Transfer::Step step = large.OnReply(reply, now.steady);
  if (step == Transfer::Step::kDone) {
    if (reply.dead) waiters_.Refused(link.record(), number, self_.ready.completions);
    waiters_.Judged(link.record(), number, reply.verdict, self_.ready.completions);
    const Run& run = link.run();
    waiters_.Acked(link.record(), {run.start(), run.acked(), run.missing()}, number,
                   self_.ready.completions);
  }
  return step != Transfer::Step::kBroken;
}

void Writes::Lost(const Link& link) {
  if (link.connection().reachable()) return;
  waiters_.Unreachable(link.record(), self_.ready.completions);
}

}  // namespace podmirror::sync
