// Writes on a condition: ours, and what we say of those of peers (conditions.h).
#include <utility>

#include "sync/writes.h"

namespace podmirror::sync {

std::optional<Base> Writes::ApplyIf(const Drafts& drafts, const Condition& condition,
                                    WriteDone& done, Now now) {
  const Entry& entry = *drafts.entries.front();
  const ConditionalMerge merge = self_.cache.MergeIf(drafts.entries.front(), condition, now.wall);
  const Version was = merge.was ? merge.was->version() : Version{};
  if (!merge.merged) {
    WriteOutcome outcome;
    outcome.failed = true;
    if (!Condition{}.Holds(merge.was.get(), now.wall)) outcome.found = was;
    self_.ready.completions.emplace_back(std::move(done), std::move(outcome));
    return std::nullopt;
  }
  conditions_.Took(entry.key_hash(), was);
  return Base{was, !condition.version, !peers_.Terminating().empty()};
}

std::vector<Waiters::Peer> Writes::Judges() const {
  std::vector<Waiters::Peer> peers;
  for (const Link* link : peers_.by_age()) {
    if (link->duplicate() || link->foreign()) continue;
    const bool able = !link->open() || link->peer().verdicts;
    peers.push_back({&link->record(), link->connection().reachable() && able});
  }
  return peers;
}

Verdict Writes::Judge(const EntryId& id, const Base& base, const Cache::Told& told, bool listed,
                      Now now) {
  const Version was = told.was ? told.was->version() : Version{};
  // Said before; the stream was lost on the way, and others may have built on it since.
  if (conditions_.WasFine(id.key_hash, id.version)) return {Verdict::kFine};
  const bool apart = base.apart || !listed;
  const bool older = told.result == MergeResult::kOlder;
  const Verdict lost{Verdict::kLost, was};
  if (older && (apart || !conditions_.BuiltOn(id.key_hash, was, id.version))) return lost;
  if (told.result == MergeResult::kPurged) return {};
  if (!self_.synced) return {Verdict::kFine};  // nothing was told here yet
  // A pass has brought it before, or it is older: what it replaced is not known.
  const bool known = Changed(told.result);
  const bool seen = known && (was == base.version ||
                              (base.absent && Condition{}.Holds(told.was.get(), now.wall)));
  const bool misses =
      !seen && ((apart && was > base.version) || conditions_.MayMiss(id.key_hash, base.version));
  conditions_.Took(id.key_hash, was);
  if (apart) conditions_.Told(id.key_hash, id.version);
  if (!seen) waiters_.Overrun(id.key_hash, base.version, id.version, self_.ready.completions);
  if (misses) return older ? lost : Verdict{};
  conditions_.Fine(id.key_hash, id.version, base.absent ? Version{} : base.version);
  return {Verdict::kFine};
}

}  // namespace podmirror::sync
