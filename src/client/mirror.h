// A Mirror is a copy of what the daemons hold, all or a part of it, in the process: reads are as
// fast as those of a map, and go on when no daemon can be reached. It follows one daemon
// (podmirror.v1.Follow), and another one when that fails: what differs is found by digests, and
// only that is sent.
//
// Of each key versions do not go back while one daemon is followed. After a change of daemons the
// copy keeps for ten seconds what the new one does not have yet; then the new one decides. So what
// was lost with a daemon goes from the copy, too. (A delete that the new one has not heard of is
// undone until it has.)
//
// A mirror of a part has no digests to go by: at another daemon it is told that part anew. What is
// newer is taken at once; when all is told, what was not goes, without the ten seconds.
//
// Who follows must be allowed to watch what it follows.
// Thread safety: all calls from any thread, at the same time; the destructor from one, not from
// within a callback. A read takes a lock that nobody holds for longer than the work on some
// entries, and makes no system call. Invariants: (1) kSynced: everything that the daemon held `age`
// ago is here, or something newer.
//             (2) the memory of the entries keeps within max_bytes: a Mirror that would need more
//                 takes what fits, is kStale, and Status says why.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "client/entry.h"
#include "client/options.h"

namespace podmirror::discovery {
class PeerSource;
}

namespace podmirror::client {

// An entry of a copy. It stays what it is, also when the copy gets another one, until the last of
// these is gone.
class MirrorEntry {
 public:
  MirrorEntry() = default;
  MirrorEntry(const MirrorEntry& other);
  MirrorEntry(MirrorEntry&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  MirrorEntry& operator=(MirrorEntry other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~MirrorEntry();

  // There is one. Requires, for all below: true.
  explicit operator bool() const { return entry_ != nullptr; }
  std::int32_t type() const;
  std::string_view key() const;
  std::string_view value() const;
  std::string version() const;  // as Entry::version
  // When it expires, by the clocks of the daemons; the epoch: never.
  std::chrono::system_clock::time_point expires_at() const;

 private:
  friend class Mirror;
  explicit MirrorEntry(const void* entry) : entry_(entry) {}

  const void* entry_ = nullptr;
};

struct MirrorChange {
  enum class Kind : std::uint8_t {
    kPut,
    kDeleted,
    kExpired,
    kReset,  // changes were left out: look at everything again
  };
  Kind kind = Kind::kPut;
  MirrorEntry entry{};  // kDeleted, kExpired: its type, key and version; kReset: none
};

struct MirrorOptions {
  Selection what{};                                  // default: everything
  std::uint64_t max_bytes = std::uint64_t{1} << 30;  // of memory of the entries
  // Is told each change of the copy, in their order for each key, one call at a time, by a thread
  // of the Mirror: while it runs the copy goes on. It must not throw.
  std::function<void(const MirrorChange&)> on_change{};
};

enum class MirrorState : std::uint8_t {
  kStarting,  // has not had all that a daemon holds yet
  kSynced,    // follows a daemon
  kStale,     // had it all, and follows nobody now, or has missed something
};
// "starting", "synced", "stale".
std::string_view ToString(MirrorState state);

struct MirrorStatus {
  MirrorState state = MirrorState::kStarting;
  std::chrono::milliseconds age{};  // since the copy held all that a daemon held; kStarting: 0
  bool equal = false;    // its digest is the one that the daemon told last; of a part: false
  std::string daemon{};  // that is followed; empty: none
  std::string error{};   // why it is not kSynced; empty when it is
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;             // of memory
  std::uint64_t received = 0;          // entries, since the start
  std::uint64_t daemons_followed = 0;  // that told something; one counts again when it is again
};

class Mirror {
 public:
  // Begins to follow and returns at once. Of `options` the deadline is that of one question of the
  // Mirror's. kInvalid names the option that is wrong.
  static Result<std::unique_ptr<Mirror>> New(const Options& options, MirrorOptions mirror = {});
  // The same with a given source of daemons, as Client::New.
  static Result<std::unique_ptr<Mirror>> New(const Options& options, MirrorOptions mirror,
                                             std::unique_ptr<discovery::PeerSource> source);
  ~Mirror();

  // The entry of this key; none when there is none, or it has expired by this machine's clock.
  MirrorEntry Get(std::int32_t type, std::string_view key) const;

  // Gives every entry to `each`, in no order, until that returns false. What changes meanwhile is
  // given as it was or as it is.
  void ForEach(const std::function<bool(const MirrorEntry& entry)>& each) const;

  MirrorStatus Status() const;
  // Waits until it is kSynced. False: it is not, after `timeout`, at most an hour.
  bool WaitSynced(std::chrono::milliseconds timeout) const;

 private:
  class Impl;
  explicit Mirror(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace podmirror::client
