// What a watcher is told, and the token that names a place among the changes of one daemon.
// Thread safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/env.h"
#include "cache/entry.h"

namespace podmirror::watch {

// A place among the changes of one run of a daemon: all up to `number` is known. No change has
// number 0: there one can only begin anew.
struct Token {
  std::uint64_t incarnation = 0;
  std::uint64_t number = 0;

  // "<incarnation>-<number>", lower-case hex, 16 digits each.
  std::string ToString() const;
  // Nothing for any other text.
  static std::optional<Token> Parse(std::string_view text);
};

enum class EventKind : std::uint8_t {
  kPut,
  kDelete,
  kSynced,    // the initial state, or what was missed, is complete
  kBookmark,  // nothing has happened for a while
  kReset,     // forget all; the state follows, up to kSynced
};
std::string_view ToString(EventKind kind);  // "put", "delete", ...

struct Event {
  EventKind kind = EventKind::kPut;
  std::uint64_t number = 0;  // of the token that goes with it
  EntryRef entry = {};       // of a put or delete
  bool expired = false;      // why it is gone: nobody deleted it
};

// Makes one part of what a watcher reads, for events in their order. Called from any thread, on
// several at a time.
using Encode = std::function<std::string(std::span<const Event> events, WallMs now)>;

}  // namespace podmirror::watch
