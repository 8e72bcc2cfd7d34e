// A cache that is watched, and a reader that applies what it is told and notes what is wrong.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cache/cache.h"
#include "cache/change_log.h"
#include "watch/feed.h"
#include "watch/watcher.h"

namespace podmirror::watch {

inline constexpr WallMs kWall = 1'700'000'000'000;
inline constexpr std::uint64_t kIncarnation = 0xabc;

using Key = std::pair<std::int32_t, std::string>;

// One event as a line of text: words, the value last.
inline std::string Lines(std::span<const Event> events, WallMs /*now*/) {
  std::string text;
  for (const Event& event : events) {
    text += std::string(ToString(event.kind)) + (event.expired ? "!" : "") + " " +
            std::to_string(event.number);
    if (event.entry) {
      text += " " + std::to_string(event.entry->type()) + " " + std::string(event.entry->key()) +
              " " + event.entry->version().ToString() + " " + std::string(event.entry->value());
    }
    text += "\n";
  }
  return text;
}

struct Watched {
  explicit Watched(std::uint64_t log_bytes = 1024 * 1024, FeedsOptions options = {})
      : changes(log_bytes), feeds(cache, changes, Ours(options)) {}

  static FeedsOptions Ours(FeedsOptions options) {
    options.incarnation = kIncarnation;
    return options;
  }
  std::shared_ptr<Feed> FeedOf(Filter filter = {}) {
    return feeds.Get(std::move(filter), "lines", Lines);
  }
  std::unique_ptr<Watcher> Open(const Start& start, SteadyMs now = 0, Filter filter = {}) {
    return Watcher::Open(FeedOf(std::move(filter)), start, {now, kWall});
  }
  void Put(const std::string& key, std::uint64_t hlc, const std::string& value = "v",
           WallMs expires_at = 0, std::int32_t type = 1) {
    cache.Merge(Entry::Make(type, key, value, {hlc, 7}, expires_at), kWall);
  }
  void Delete(const std::string& key, std::uint64_t hlc) {
    cache.Merge(Entry::MakeTombstone(1, key, {hlc, 7}), kWall);
  }

  ChangeLog changes;
  Cache cache{&changes};
  Feeds feeds;
};

// All that there is to read now; "" when that is nothing.
inline std::string ReadAll(Watcher& watcher, SteadyMs now = 0) {
  std::string text;
  do {
    while (const PartRef part = watcher.Next({now, kWall})) text += part->bytes();
  } while (watcher.more());
  return text;
}

// What somebody holds who applies each event, and where that went wrong.
struct Copy {
  std::map<Key, std::string> entries;                    // the value
  std::map<Key, std::pair<std::string, bool>> versions;  // told last; of a delete, true
  std::string token;                                     // of the latest event
  int synced = 0;
  int resets = 0;
  int wrong = 0;  // versions that went back, changes of no token

  void Apply(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) ApplyLine(line);
  }
  void ApplyLine(const std::string& line) {
    std::istringstream words(line);
    std::string kind;
    std::uint64_t number = 0;
    Key key;
    std::string version;
    std::string value;
    words >> kind >> number >> key.first >> key.second >> version >> value;
    token = Token{kIncarnation, number}.ToString();
    if (kind == "synced") ++synced;
    if (kind == "reset") {
      ++resets;
      entries.clear();
      versions.clear();
    }
    if (version.empty()) return;
    const bool gone = kind != "put";
    const auto told = versions.find(key);
    if (told != versions.end() && std::pair(version, gone) < told->second) ++wrong;
    versions[key] = {version, gone};
    if (gone) {
      entries.erase(key);
    } else {
      entries[key] = value;
    }
  }
};

// What a reader of `cache` finds.
inline std::map<Key, std::string> Live(const Cache& cache, WallMs now = kWall) {
  std::map<Key, std::string> live;
  for (std::uint32_t bucket = cache.NextStored(0); bucket < kBuckets;
       bucket = cache.NextStored(bucket + 1)) {
    for (const EntryRef& entry : cache.Bucket(bucket)) {
      if (entry->tombstone() || entry->expired(now)) continue;
      live.emplace(Key(entry->type(), entry->key()), entry->value());
    }
  }
  return live;
}

}  // namespace podmirror::watch
