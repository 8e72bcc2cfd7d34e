#include "sync/node.h"

#include <algorithm>
#include <limits>

namespace podmirror::sync {
namespace {

// What an entry costs beside key and value, for the decision whether a write may grow the cache.
constexpr std::uint64_t kEntryOverhead = 64;

// 0 = never. A time to live that ends beyond the end of time ends there.
WallMs ExpiryOf(WallMs now, std::int64_t ttl_ms) {
  constexpr WallMs kLast = std::numeric_limits<WallMs>::max();
  if (ttl_ms <= 0) return 0;
  return ttl_ms > kLast - now ? kLast : now + ttl_ms;
}

}  // namespace

Node::Node(NodeOptions options, Cache& cache, const Assembly& assembly,
           std::function<std::uint64_t()> random, Now now)
    : options_(std::move(options)),
      cache_(cache),
      assembly_(assembly),
      random_(std::move(random)),
      incarnation_(random_() | 1),
      backlog_(options_.backlog_bytes) {
  bootstrap_.since = ticked_at_ = now.steady;
  agreed_ = now.wall;
  bootstrap_.reason = discovery_error_;
}

// --- writes ---

std::uint64_t Node::Grows(const WriteItem& item) const {
  const EntryRef held = cache_.Peek(item.type, item.key);
  const std::uint64_t needs =
      kEntryOverhead + item.key.size() + (item.remove ? 0 : item.value.size());
  const std::uint64_t has = held ? kEntryOverhead + held->key().size() + held->value().size() : 0;
  return needs > has ? needs - has : 0;
}

WriteRefusal Node::Refusal(std::span<const WriteItem> items) const {
  if (draining_) return WriteRefusal::kDraining;
  if (!synced_) return WriteRefusal::kNotReady;
  if (options_.max_memory == 0) return WriteRefusal::kNone;
  std::uint64_t growth = 0;
  for (const WriteItem& item : items) growth += Grows(item);
  const bool fits = growth == 0 || cache_.memory_bytes() + growth <= options_.max_memory;
  return fits ? WriteRefusal::kNone : WriteRefusal::kOutOfMemory;
}

std::vector<EntryRef> Node::Apply(Now now, std::span<const WriteItem> items) {
  std::vector<EntryRef> entries;
  entries.reserve(items.size());
  for (const WriteItem& item : items) {
    const Version version{hlc_.Next(now.wall), incarnation_};
    entries.push_back(item.remove ? Entry::MakeTombstone(item.type, item.key, version)
                                  : Entry::Make(item.type, item.key, item.value, version,
                                                ExpiryOf(now.wall, item.ttl_ms)));
  }
  cache_.MergeAll(entries, ExpiredBy(now));
  return entries;
}

WriteRefusal Node::Write(Now now, std::span<const WriteItem> items, const WriteOptions& options,
                         WriteDone done) {
  if (const WriteRefusal refusal = Refusal(items); refusal != WriteRefusal::kNone) return refusal;
  if (items.empty()) {  // nothing to be acknowledged
    const auto peers = static_cast<std::uint32_t>(CountedPeers(items).size());
    ready_.completions.emplace_back(std::move(done),
                                    WriteOutcome{options.ack, true, peers, peers, {}, {}});
    return WriteRefusal::kNone;
  }
  std::vector<EntryRef> entries = Apply(now, items);
  const Version version = entries.back()->version();
  const std::uint64_t first = backlog_.last() + 1;
  for (EntryRef& entry : entries) backlog_.Append(std::move(entry));
  for (Link* link : by_age_) {
    if (link->BatchDue(backlog_)) ready_.wakes.push_back(link->conn());
  }
  waiters_.Add(first, backlog_.last(), version, options, now.steady, CountedPeers(items),
               std::move(done), ready_.completions);
  return WriteRefusal::kNone;
}

WriteRefusal Node::WriteLocal(Now now, std::span<const WriteItem> items) {
  if (const WriteRefusal refusal = Refusal(items); refusal != WriteRefusal::kNone) return refusal;
  Apply(now, items);
  return WriteRefusal::kNone;
}

std::vector<Waiters::Peer> Node::CountedPeers(std::span<const WriteItem> items) const {
  // A legacy peer can be told neither a delete nor a value that is not UTF-8, and may not take a
  // large one, so it cannot acknowledge a write that holds one of these.
  const auto tellable = [&] {
    return std::all_of(items.begin(), items.end(), [](const WriteItem& item) {
      return !item.remove && IsUtf8(item.value) &&
             item.key.size() + item.value.size() + kEntryOverhead <= kLegacyRequestBytes;
    });
  };
  std::vector<Waiters::Peer> peers;
  peers.reserve(by_age_.size());
  for (const Link* link : by_age_) {
    if (link->duplicate() || link->foreign() || (link->legacy() && !tellable())) continue;
    peers.push_back({link->id(), link->record().name, link->reachable()});
  }
  return peers;
}

void Node::CreditAcks(const Link& link, std::uint64_t first, std::uint64_t last) {
  if (first <= last) waiters_.Acked(link.id(), first, last, link.missing(), ready_.completions);
}

// --- peers ---

void Node::DiscoveryFailed(const std::string& error) { discovery_error_ = error; }

void Node::SetPeers(Now now, const PeerSet& set) {
  listed_ = set.self_listed;
  if (!set.self_listed) {
    discovery_error_ =
        "own pod not found under " + set.where + ": check that path, service, pod-name";
    return;
  }
  set_ = set;
  for (auto it = links_.begin(); it != links_.end();) {
    const bool listed =
        std::any_of(set.peers.begin(), set.peers.end(),
                    [&](const PodRecord& record) { return record.id() == it->first; });
    const auto next = std::next(it);
    if (!listed) RemoveLink(now, it);
    it = next;
  }
  for (const PodRecord& record : set.peers) {
    const auto found = links_.find(record.id());
    if (found != links_.end()) {
      found->second.set_record(record);
      continue;
    }
    AddLink(now, record);
  }
  SortLinks();
  for (Link* link : by_age_) StepLink(now, *link);
  StepJoin(now);
}

void Node::SortLinks() {
  by_age_.clear();
  for (auto& [id, link] : links_) by_age_.push_back(&link);
  std::sort(by_age_.begin(), by_age_.end(),
            [](const Link* a, const Link* b) { return OlderThan(a->record(), b->record()); });
}

void Node::AddLink(Now now, const PodRecord& record) {
  const auto departed = departed_.find(record.id());
  const std::uint64_t reach =
      departed != departed_.end() ? departed->second.reach : cache_.purge_floor();
  links_.emplace(record.id(), Link(record, reach, now.steady));
  departed_.erase(record.id());
  Emit(EventKind::kPeerAdded, record.name, record.ip);
}

void Node::RemoveLink(Now now, std::map<std::string, Link>::iterator it) {
  const Link& link = it->second;
  TellDropped(link);
  if (!link.duplicate() && !link.foreign() && !link.legacy()) {
    departed_[link.id()] = {link.reach(), now.steady};
  }
  if (link.conn() != 0) {
    ready_.closes.push_back(link.conn());
    link_by_conn_.erase(link.conn());
  }
  legacy_passes_.erase(it->first);
  if (bootstrap_.copy && bootstrap_.copy->donor == it->first) bootstrap_.copy.reset();
  Emit(EventKind::kPeerRemoved, link.record().name);
  waiters_.Removed(it->first, ready_.completions);
  links_.erase(it);
}

// --- what is to be seen ---

NodeStatus Node::Status(Now now) const {
  NodeStatus status;
  // A copy that was never complete must not be read, not even while draining.
  status.state = !synced_    ? NodeState::kBootstrapping
                 : draining_ ? NodeState::kDraining
                             : NodeState::kReady;
  status.ready = serving();
  if (draining_) {
    status.reason = "draining";
  } else if (!synced_) {
    status.reason = bootstrap_.reason;
  }
  status.incarnation = incarnation_;
  status.bootstrap = bootstrap_.report;
  if (!synced_) status.bootstrap.ms = now.steady - bootstrap_.since;
  status.hlc = hlc_.Current(now.wall);
  status.backlog_bytes = backlog_.bytes();
  return status;
}

std::vector<PeerStatus> Node::Peers(Now now) const {
  std::vector<PeerStatus> peers;
  for (const Link* link : by_age_) {
    if (link->duplicate()) continue;
    PeerStatus status;
    status.record = link->record();
    status.legacy = link->legacy();
    status.state = link->refused()           ? LinkState::kRefused
                   : !link->open()           ? LinkState::kConnecting
                   : link->legacy()          ? LinkState::kLegacy
                   : link->restart_pending() ? LinkState::kRepairing
                                             : LinkState::kStreaming;
    status.acked_seq = link->held();
    const Link::Behind behind = link->behind(backlog_);
    status.behind_entries = behind.entries;
    status.behind_bytes = behind.bytes;
    if (status.behind_entries > 0) {
      const std::uint64_t next = std::max(status.acked_seq + 1, backlog_.first());
      const WallMs oldest = WallOf(backlog_.at(next)->version().hlc);
      status.lag_ms = std::max<std::int64_t>(0, now.wall - oldest);
    }
    if (const auto clock = link->clock().At(now.steady)) status.clock_ahead_ms = *clock - now.wall;
    status.last_ack_ms_ago = link->last_ack_at() < 0 ? -1 : now.steady - link->last_ack_at();
    status.error = link->error();
    peers.push_back(std::move(status));
  }
  return peers;
}

void Node::Emit(EventKind kind, std::string peer, std::string detail,
                std::vector<std::pair<std::string_view, std::uint64_t>> numbers) {
  ready_.events.push_back({kind, std::move(peer), std::move(detail), std::move(numbers)});
}

}  // namespace podmirror::sync
