#include "watch/feed.h"

#include <algorithm>
#include <utility>

namespace podmirror::watch {

Feed::Feed(Feeds& feeds, Filter filter, Encode encode)
    : feeds_(feeds), filter_(std::move(filter)), encode_(std::move(encode)) {}

PartRef Feed::Make(std::span<const Event> events, WallMs now) const {
  std::string bytes = encode_(events, now);
  if (!feeds_.budget().Take(bytes.size())) return nullptr;
  return std::make_shared<const Part>(std::move(bytes), feeds_.budget());
}

Feed::Step Feed::After(std::uint64_t after, WallMs now) {
  absl::MutexLock lock(&mu_);
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
    part = Make(events, now);
    if (!part) return {.kind = Step::Kind::kNoRoom};
  }
  recent_.push_back({after, to, part});
  if (recent_.size() > kKept) recent_.pop_front();
  return {Step::Kind::kMoved, to, std::move(part)};
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

bool Feeds::TakeWatcher() {
  if (watchers_.fetch_add(1, std::memory_order_relaxed) < options_.max_watchers) return true;
  GiveWatcher();
  return false;
}

}  // namespace podmirror::watch
