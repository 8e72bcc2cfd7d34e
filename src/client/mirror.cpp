#include "client/mirror.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "cache/cache.h"
#include "cache/change_log.h"
#include "client/fleet.h"
#include "client/follow_call.h"
#include "client/rounds.h"
#include "client/wire.h"
#include "follow/follower.h"

namespace podmirror::client {
namespace {

using std::chrono::milliseconds;

// Of changes that the callback has not been told yet; who is slower is told to look at everything.
constexpr std::uint64_t kChangeLogBytes = 8 * 1024 * 1024;
constexpr std::size_t kToldBytes = 64 * 1024;
// Where there was no room for what a daemon told: the next one tells the same, and each tells all
// of it. Twice as long each time.
constexpr SteadyMs kFirstNoRoomPauseMs = 10'000;
constexpr SteadyMs kLastNoRoomPauseMs = 300'000;
// A daemon that beats, and from which nothing was missed, is followed.
constexpr SteadyMs kFreshMs = 5000;

follow::Scope ScopeOf(const Selection& what) {
  return what.types.empty() && what.prefix.empty() ? follow::Scope::kWhole : follow::Scope::kPart;
}

const podmirror::Entry* EntryOf(const void* entry) {
  return static_cast<const podmirror::Entry*>(entry);
}

}  // namespace

MirrorEntry::MirrorEntry(const MirrorEntry& other)
    : entry_(EntryRef::Share(EntryOf(other.entry_)).Release()) {}
MirrorEntry::~MirrorEntry() { EntryRef::Adopt(EntryOf(entry_)); }
std::int32_t MirrorEntry::type() const { return EntryOf(entry_)->type(); }
std::string_view MirrorEntry::key() const { return EntryOf(entry_)->key(); }
std::string_view MirrorEntry::value() const { return EntryOf(entry_)->value(); }
std::string MirrorEntry::version() const { return EntryOf(entry_)->version().ToString(); }
std::chrono::system_clock::time_point MirrorEntry::expires_at() const {
  return std::chrono::system_clock::time_point(milliseconds(EntryOf(entry_)->expires_at()));
}

std::string_view ToString(MirrorState state) {
  switch (state) {
    case MirrorState::kStarting:
      return "starting";
    case MirrorState::kSynced:
      return "synced";
    case MirrorState::kStale:
      return "stale";
  }
  return "";
}

class Mirror::Impl {
 public:
  Impl(const Options& options, MirrorOptions mirror, v1::ChangesRequest what,
       std::unique_ptr<Fleet> fleet)
      : deadline_(options.deadline),
        on_change_(std::move(mirror.on_change)),
        what_(std::move(what)),
        fleet_(std::move(fleet)),
        env_(fleet_->env()),
        cache_(on_change_ ? &changes_ : nullptr),
        follower_(cache_, ScopeOf(mirror.what), mirror.max_bytes) {
    changes_.AddListener([this] {
      absl::MutexLock lock(&tell_mu_);
      changed_.Signal();
    });
    fleet_->Start();
    if (on_change_) telling_ = std::thread([this] { Tell(); });
    following_ = std::thread([this] { Run(); });
  }

  ~Impl() {
    // Before the locks: who looks at it under one of them, and then waits, is woken.
    ending_ = true;
    {
      absl::MutexLock lock(&mu_);
      pause_.Signal();
      if (call_ != nullptr) call_->Cancel();
    }
    {
      absl::MutexLock lock(&tell_mu_);
      changed_.Signal();
    }
    {
      absl::MutexLock lock(&follower_mu_);
      synced_.SignalAll();
    }
    fleet_->Stop();
    following_.join();
    if (telling_.joinable()) telling_.join();
  }

  MirrorEntry Get(std::int32_t type, std::string_view key) const {
    EntryRef entry = cache_.Peek(type, key);
    if (!entry || entry->tombstone()) return {};
    if (entry->expires_at() != 0 && entry->expired(env_.now().wall)) return {};
    return MirrorEntry(entry.Release());
  }

  void ForEach(const std::function<bool(const MirrorEntry&)>& each) const {
    const WallMs now = env_.now().wall;
    for (std::uint32_t bucket = cache_.NextStored(0); bucket < kBuckets;
         bucket = cache_.NextStored(bucket + 1)) {
      for (EntryRef& entry : cache_.Bucket(bucket)) {
        if (entry->tombstone() || entry->expired(now)) continue;
        if (!each(MirrorEntry(entry.Release()))) return;
      }
    }
  }

  MirrorStatus Status() const {
    MirrorStatus status;
    const CacheStats stats = cache_.Stats();
    absl::MutexLock lock(&mu_);
    absl::MutexLock follower_lock(&follower_mu_);
    const SteadyMs now = env_.now().steady;
    status.state = StateAt(now);
    if (follower_.ever_complete()) status.age = milliseconds(now - follower_.as_of());
    status.equal = follower_.equal();
    status.daemon = daemon_;
    if (status.state != MirrorState::kSynced) status.error = WhyAt(now);
    status.entries = stats.entries;
    status.bytes = stats.memory;
    status.received = follower_.received();
    status.daemons_followed = follower_.streams();
    return status;
  }

  bool WaitSynced(milliseconds timeout) const {
    const SteadyMs until = env_.now().steady + std::min(timeout, milliseconds(kLongest)).count();
    absl::MutexLock lock(&follower_mu_);
    for (;;) {
      const SteadyMs now = env_.now().steady;
      if (StateAt(now) == MirrorState::kSynced) return true;
      if (now >= until || ending_) return false;
      synced_.WaitWithTimeout(&follower_mu_, absl::Milliseconds(until - now));
    }
  }

 private:
  MirrorState StateAt(SteadyMs now) const ABSL_SHARED_LOCKS_REQUIRED(follower_mu_) {
    if (!follower_.ever_complete()) return MirrorState::kStarting;
    const bool fresh = follower_.complete() && now - follower_.as_of() < kFreshMs;
    return fresh ? MirrorState::kSynced : MirrorState::kStale;
  }

  std::string WhyAt(SteadyMs now) const ABSL_SHARED_LOCKS_REQUIRED(mu_, follower_mu_) {
    if (daemon_.empty()) return error_;
    if (follower_.copying()) return daemon_ + ": is copied";
    if (!follower_.complete()) return daemon_ + ": is compared with the copy";
    return daemon_ + ": told nothing for " + std::to_string(now - follower_.as_of()) + " ms";
  }

  void Run() {
    Rounds rounds(fleet_->pool(), env_);
    SteadyMs no_room_pause = kFirstNoRoomPauseMs;
    for (;;) {
      auto choice = rounds.Next();
      if (!choice.ok()) {
        const bool none_asked = !rounds.tried();
        if (!PauseAfter(choice.status(), none_asked, rounds.EndRound())) return;
        continue;
      }
      const SteadyMs began = env_.now().steady;
      const Verdict verdict = fleet_->At(
          *choice, [this](const auto& at, const auto& with) { return Follow(at, with); });
      fleet_->pool().Report(*choice, verdict);
      const bool of_use = WasOfUse(began);
      rounds.Ended(*choice, of_use);
      if (of_use) no_room_pause = kFirstNoRoomPauseMs;
      // It was said here, not by the daemon.
      const bool no_room =
          verdict.outcome == Outcome::kLost && verdict.status.code() == Code::kExhausted;
      if (!no_room) continue;
      if (!PauseAfter(verdict.status, false, no_room_pause)) return;
      no_room_pause = std::min(2 * no_room_pause, kLastNoRoomPauseMs);
    }
  }

  // No daemon is left to be asked; none_asked: not even one was. Returns false when the mirror
  // ends.
  bool PauseAfter(const podmirror::Status& status, bool none_asked, SteadyMs pause) {
    absl::MutexLock lock(&mu_);
    if (none_asked) error_ = status.message();  // else it says why the last one failed
    if (!ending_) pause_.WaitWithTimeout(&mu_, absl::Milliseconds(pause));
    return !ending_;
  }

  // It was followed for a while, not only found.
  bool WasOfUse(SteadyMs began) const {
    absl::MutexLock lock(&follower_mu_);
    return follower_.as_of() >= began + kOfUseMs;
  }

  Verdict Follow(const Pool::Choice& choice, const Credentials::State& with) {
    FollowCall call(&follower_, follower_mu_, env_, what_, deadline_, [this] {
      absl::MutexLock lock(&follower_mu_);
      synced_.SignalAll();
    });
    {
      absl::MutexLock lock(&mu_);
      if (ending_) return {};
      call_ = &call;
      daemon_ = Pool::NameOf(choice);
    }
    Verdict verdict = call.Run(*choice.connection, with);
    absl::MutexLock lock(&mu_);
    call_ = nullptr;
    error_ = daemon_ + ": " + verdict.status.message();
    daemon_.clear();
    return verdict;
  }

  void Tell() {
    std::uint64_t at = 1;
    std::vector<Change> changes;
    for (;;) {
      {
        absl::MutexLock lock(&tell_mu_);
        while (!ending_ && changes_.last() == at) changed_.Wait(&tell_mu_);
        if (ending_) return;
      }
      changes.clear();
      const std::uint64_t last = changes_.last();
      if (!changes_.Read(at, kToldBytes, changes)) {
        at = last;
        on_change_({.kind = MirrorChange::Kind::kReset});
        continue;
      }
      at += changes.size();
      for (Change& change : changes) {
        if (ending_) return;
        on_change_(ChangeOf(change));
      }
    }
  }

  static MirrorChange ChangeOf(Change& change) {
    const auto kind = !change.entry->tombstone() ? MirrorChange::Kind::kPut
                      : change.expired           ? MirrorChange::Kind::kExpired
                                                 : MirrorChange::Kind::kDeleted;
    return {.kind = kind, .entry = MirrorEntry(change.entry.Release())};
  }

  const milliseconds deadline_;
  const std::function<void(const MirrorChange&)> on_change_;
  const v1::ChangesRequest what_;
  const std::unique_ptr<Fleet> fleet_;
  Env& env_;
  ChangeLog changes_{kChangeLogBytes};
  Cache cache_;
  std::atomic<bool> ending_{false};
  mutable absl::Mutex mu_;
  absl::CondVar pause_;
  FollowCall* call_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::string daemon_ ABSL_GUARDED_BY(mu_);
  std::string error_ ABSL_GUARDED_BY(mu_);
  mutable absl::Mutex follower_mu_ ABSL_ACQUIRED_AFTER(mu_);
  mutable absl::CondVar synced_;
  follow::Follower follower_ ABSL_GUARDED_BY(follower_mu_);
  absl::Mutex tell_mu_;
  absl::CondVar changed_;
  std::thread telling_;
  std::thread following_;
};

Mirror::Mirror(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Mirror::~Mirror() = default;

Result<std::unique_ptr<Mirror>> Mirror::New(const Options& options, MirrorOptions mirror) {
  return New(options, std::move(mirror), nullptr);
}

Result<std::unique_ptr<Mirror>> Mirror::New(const Options& options, MirrorOptions mirror,
                                            std::unique_ptr<discovery::PeerSource> source) {
  auto what = ToChanges(mirror.what);
  if (!what.ok()) return what.status();
  auto fleet = Fleet::New(options, std::move(source), Env::Real());
  if (!fleet.ok()) return fleet.status();
  return std::unique_ptr<Mirror>(new Mirror(
      std::make_unique<Impl>(options, std::move(mirror), *std::move(what), std::move(*fleet))));
}

MirrorEntry Mirror::Get(std::int32_t type, std::string_view key) const {
  return impl_->Get(type, key);
}

void Mirror::ForEach(const std::function<bool(const MirrorEntry& entry)>& each) const {
  impl_->ForEach(each);
}

MirrorStatus Mirror::Status() const { return impl_->Status(); }

bool Mirror::WaitSynced(milliseconds timeout) const { return impl_->WaitSynced(timeout); }

}  // namespace podmirror::client
