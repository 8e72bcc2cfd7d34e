// What is stored: entries, the keys that name them, what a write is made of, and what a watch
// tells. Keys are UTF-8 without NUL and not empty, values any bytes; the daemons' limits of size
// hold. Thread safety: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace podmirror::client {

struct Key {
  std::int32_t type = 0;
  std::string key{};
};

struct Entry {
  std::int32_t type = 0;
  std::string key{};
  std::string value{};
  std::string version{};            // "<hlc>-<origin>" in hex; the greater text is newer
  std::chrono::milliseconds ttl{};  // what is left of it; 0 = never expires
};

// One entry to be set.
struct Item {
  std::int32_t type = 0;
  std::string key{};
  std::string value{};
  std::chrono::milliseconds ttl{};  // 0 = never expires
};

// Which entries are meant.
struct Selection {
  std::vector<std::int32_t> types{};  // none = every type
  std::string prefix{};               // only keys that begin with it
};

struct WatchOptions {
  Selection what{};      // default: everything
  bool initial = false;  // what is there now comes first
  std::string since{};   // the id of an event: what came behind it. It counts before `initial`
  // How long to look for a daemon that can be watched, each time; 0: for ever.
  std::chrono::milliseconds give_up{60'000};
};

struct WatchEvent {
  enum class Kind {
    kPut,
    kDeleted,
    kExpired,
    kSynced,    // the initial state, or what was missed, is complete
    kBookmark,  // nothing has happened for ten seconds; the id is newer
    kReset,     // forget all: the state follows, up to kSynced
  };
  Kind kind = Kind::kPut;
  std::string id{};  // where to go on behind this event
  Entry entry{};     // kDeleted, kExpired: its type, key and version; others but kPut: none
};

// Who must have applied a write before it is answered.
enum class Ack {
  kDefault,   // as the daemon's setting `ack` says
  kLocal,     // the daemon that took it
  kOne,       // one other daemon
  kMajority,  // most daemons, the one that took it included
  kAll,       // every daemon
};

struct WriteOptions {
  Ack ack = Ack::kDefault;
  // How long to wait for `ack`; 0 = not at all; absent = the daemon's setting `ack-timeout`.
  std::optional<std::chrono::milliseconds> ack_timeout{};
  // A condition on what is stored now, of a write of one item: this version is there, or nothing is
  // (not of a delete). At most one of the two, and `ack` is kDefault or kAll.
  std::optional<std::string> if_version{};
  bool if_absent = false;
};

// How far a write had come when it was answered. Also when `met` is false, the write stands and
// goes on spreading.
struct WriteResult {
  std::uint32_t count = 0;             // items set, deleted or touched
  std::string version{};               // of the last one; empty: there was none
  Ack required = Ack::kDefault;        // never kDefault in an answer
  bool met = false;                    // `required` is met
  std::uint32_t peers = 0;             // peers counted for this write
  std::uint32_t acked = 0;             // that many of them have applied it
  std::vector<std::string> pending{};  // names of the others
};

}  // namespace podmirror::client
