#include "watch/feed.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace podmirror::watch {

Feed::Feed(Feeds& feeds, Filter filter, Encode encode)
    : feeds_(feeds), filter_(std::move(filter)), encode_(std::move(encode)) {}

PartRef Feed::TryMake(std::span<const Event> events, WallMs now) const {
  std::string bytes = encode_(events, now);
  if (!feeds_.budget().Take(bytes.size())) return nullptr;
  return std::make_shared<const Part>(std::move(bytes), feeds_.budget());
}

PartRef Feed::Make(std::span<const Event> events, WallMs now) const {
  if (PartRef part = TryMake(events, now)) return part;
  return feeds_.DropKept() ? TryMake(events, now) : nullptr;
}

Feed::Step Feed::After(std::uint64_t after, WallMs now) {
  Step step = TryAfter(after, now);
  if (step.kind != Step::Kind::kNoRoom || !feeds_.DropKept()) return step;
  return TryAfter(after, now);
}

Feed::Step Feed::TryAfter(std::uint64_t after, WallMs now) {
  absl::MutexLock lock(&mu_);
  while (!recent_.empty() && std::abs(now - recent_.front().made) > kKeptMs) DropOldest();
  std::uint64_t end = UINT64_MAX;  // where a part begins that others read already
  for (const Recent& recent : recent_) {
    if (recent.from == after) return {Step::Kind::kMoved, recent.to, recent.part};
    if (recent.from > after) end = std::min(end, recent.from);
  }
  std::vector<Change> changes;
  if (!feeds_.changes().Read(after, kPartBytes, changes)) return {};
  if (changes.size() > end - after) changes.resize(end - after);
  const std::uint64_t to = after + changes.size();
  std::vector<Event> events;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (!filter_.Wants(*changes[i].entry)) continue;
    const bool gone = changes[i].entry->tombstone();
    events.push_back({.kind = gone ? EventKind::kDelete : EventKind::kPut,
                      .number = after + 1 + i,
                      .entry = std::move(changes[i].entry),
                      .expired = changes[i].expired});
  }
  PartRef part;
  if (!events.empty()) {
    part = TryMake(events, now);
    if (!part) return {.kind = Step::Kind::kNoRoom};
  }
  Keep({after, to, part, now});
  return {Step::Kind::kMoved, to, std::move(part)};
}

void Feed::Keep(Recent recent) {
  recent_bytes_ += recent.bytes();
  recent_.push_back(std::move(recent));
  while (recent_.size() > 1 && (recent_.size() > kKept || recent_bytes_ > kKeptBytes)) DropOldest();
}

void Feed::DropOldest() {
  recent_bytes_ -= recent_.front().bytes();
  recent_.pop_front();
}

bool Feed::DropKept() {
  absl::MutexLock lock(&mu_);
  const std::size_t before = recent_bytes_;
  std::erase_if(recent_, [](const Recent& recent) { return recent.part.use_count() <= 1; });
  recent_bytes_ = 0;
  for (const Recent& recent : recent_) recent_bytes_ += recent.bytes();
  return recent_bytes_ < before;
}

Feeds::Feeds(const Cache& cache, const ChangeLog& changes, FeedsOptions options)
    : cache_(cache), changes_(changes), options_(options), budget_(options.budget_bytes) {}

std::shared_ptr<Feed> Feeds::Get(Filter filter, const std::string& format, Encode encode) {
  Key key{format, filter.types, filter.prefix, filter.reader.get()};
  absl::MutexLock lock(&mu_);
  std::weak_ptr<Feed>& known = feeds_[std::move(key)];
  if (std::shared_ptr<Feed> feed = known.lock()) return feed;
  auto feed = std::make_shared<Feed>(*this, std::move(filter), std::move(encode));
  known = feed;
  std::erase_if(feeds_, [](const auto& other) { return other.second.expired(); });
  return feed;
}

bool Feeds::DropKept() {
  absl::MutexLock lock(&mu_);
  bool dropped = false;
  for (const auto& [key, known] : feeds_) {
    const std::shared_ptr<Feed> feed = known.lock();
    if (feed && feed->DropKept()) dropped = true;
  }
  return dropped;
}

bool Feeds::TakeWatcher() {
  if (watchers_.fetch_add(1, std::memory_order_relaxed) < options_.max_watchers) return true;
  GiveWatcher();
  return false;
}

}  // namespace podmirror::watch
