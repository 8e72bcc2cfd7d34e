#include "sim/sim_watchers.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

namespace podmirror::sim {
namespace {

// A part is these, one after the other, each with its entry if it has one.
struct Head {
  watch::EventKind kind;
  bool has_entry;
  std::uint64_t number;
};

std::string Encode(std::span<const watch::Event> events, WallMs /*now*/) {
  std::string bytes;
  for (const watch::Event& event : events) {
    const Head head{event.kind, bool{event.entry}, event.number};
    bytes.append(reinterpret_cast<const char*>(&head), sizeof(head));  // NOLINT: its bytes
    if (event.entry) bytes += event.entry->Packed();
  }
  return bytes;
}

std::vector<watch::Event> Decode(std::string_view bytes) {
  std::vector<watch::Event> events;
  while (!bytes.empty()) {
    Head head;
    std::memcpy(&head, bytes.data(), sizeof(head));
    bytes.remove_prefix(sizeof(head));
    events.push_back({.kind = head.kind, .number = head.number});
    if (head.has_entry) events.back().entry = Entry::Unpack(bytes);
  }
  return events;
}

}  // namespace

Watchers::Watchers(SimWorld& world, Witness& witness, std::uint64_t seed)
    : world_(world), witness_(witness), random_(seed) {
  readers_.resize(3);
  readers_[1].types = {1};
  readers_[2].prefix = "k1";
}

watch::Feeds& Watchers::FeedsOf(Process& process) {
  auto& feeds = feeds_[&process];
  if (!feeds) {
    feeds = std::make_unique<watch::Feeds>(
        *process.cache, *process.changes,
        watch::FeedsOptions{.incarnation = process.driver->Status().incarnation});
  }
  return *feeds;
}

void Watchers::Open(Reader& reader) {
  const std::vector<int> serving = world_.Serving();
  reader.watcher.reset();
  reader.at = nullptr;
  if (serving.empty()) return;
  reader.at = &world_.process(serving[random_() % serving.size()]);
  watch::Start start;
  start.initial = true;
  start.resume = reader.token.has_value();
  start.since = reader.token;
  watch::Feeds& feeds = FeedsOf(*reader.at);
  reader.watcher = watch::Watcher::Open(feeds.Get({reader.types, reader.prefix}, "sim", Encode),
                                        start, reader.at->env->now());
  reader.synced = false;
}

void Watchers::Read() {
  for (Reader& reader : readers_) {
    if (!OneIn(4)) continue;
    const bool ended = reader.at == nullptr || !reader.at->alive;
    if (ended || OneIn(500)) Open(reader);
    if (reader.at == nullptr || reader.at->paused) continue;
    for (std::uint64_t parts = random_() % 6; parts > 0 && ReadPart(reader); --parts) {
    }
  }
}

void Watchers::CheckQuiet() {
  for (Reader& reader : readers_) {
    if (reader.at == nullptr || !reader.at->alive) Open(reader);
    if (reader.at == nullptr || reader.at->paused) continue;
    int parts = 0;
    while (ReadPart(reader) && ++parts < 100'000) {
    }
    if (!reader.synced) Fail(reader, "is not told to be synced");
  }
}

bool Watchers::ReadPart(Reader& reader) {
  const watch::PartRef part = reader.watcher->Next(reader.at->env->now());
  if (part) {
    for (const watch::Event& event : Decode(part->bytes())) Take(reader, event);
    return true;
  }
  if (reader.watcher->more()) return true;
  if (reader.watcher->at() == reader.at->changes->last()) CheckCopy(reader);
  return false;
}

void Watchers::Take(Reader& reader, const watch::Event& event) {
  reader.token = watch::Token{FeedsOf(*reader.at).incarnation(), event.number};
  switch (event.kind) {
    case watch::EventKind::kReset:
      reader.copy.clear();
      reader.synced = false;
      return;
    case watch::EventKind::kSynced:
      reader.synced = true;
      return;
    case watch::EventKind::kBookmark:
      return;
    case watch::EventKind::kPut:
    case watch::EventKind::kDelete:
      break;
  }
  const bool live = event.kind == watch::EventKind::kPut;
  const Entry& entry = *event.entry;
  Held& held = reader.copy[{entry.type(), std::string(entry.key())}];
  const bool back =
      entry.version() < held.version || (live && !held.live && entry.version() == held.version);
  if (back) Fail(reader, "is told an older version of " + std::string(entry.key()));
  held = {entry.version(), live, entry.expires_at()};
}

void Watchers::CheckCopy(const Reader& reader) {
  // Clocks call it dead or not: it may be told or not, until it is swept.
  const auto undecided = [&](WallMs expires_at) {
    return expires_at != 0 && expires_at <= world_.latest_wall();
  };
  std::size_t found = 0;
  ForEach(*reader.at->cache, [&](const Entry& entry) {
    if (entry.tombstone() || undecided(entry.expires_at())) return;
    if (!watch::Filter{reader.types, reader.prefix}.Wants(entry)) return;
    const auto held = reader.copy.find({entry.type(), std::string(entry.key())});
    const bool same =
        held != reader.copy.end() && held->second.live && held->second.version == entry.version();
    if (!same) Fail(reader, "has missed " + std::string(entry.key()));
    ++found;
  });
  const auto live = std::count_if(reader.copy.begin(), reader.copy.end(), [&](const auto& held) {
    return held.second.live && !undecided(held.second.expires_at);
  });
  if (static_cast<std::size_t>(live) != found) Fail(reader, "holds what its daemon does not");
}

void Watchers::Fail(const Reader& reader, const std::string& what) {
  witness_.Fail("watcher " + std::to_string(&reader - readers_.data()) + " of " +
                NameOf(*reader.at) + " " + what);
}

}  // namespace podmirror::sim
