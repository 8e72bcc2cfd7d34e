#include "discovery/registrar.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

namespace podmirror::discovery {
namespace {

constexpr std::chrono::milliseconds kRevokeTimeout{500};

}  // namespace

Registrar::Registrar(const CheckedEtcdOptions& options, RegistryRecord self,
                     std::chrono::seconds ttl, std::function<void()> changed, Env& env)
    : key_(options.where + "/" + self.address.ToString()),
      wanted_ttl_(ttl),
      changed_(std::move(changed)),
      client_(options),
      thread_(env,
              [this] {
                if (thread_.stopping()) client_.Cancel();
              }),
      failures_(options.endpoints.size()),
      backoff_(env),
      self_(std::move(self)),
      ttl_(ttl) {}

Registrar::~Registrar() { Stop(); }

void Registrar::Start() {
  thread_.Start([this] { Run(); });
}

bool Registrar::Stop() {
  thread_.Stop();
  if (lease_ == 0) return false;
  const Status revoked = client_.Revoke(std::exchange(lease_, 0), kRevokeTimeout);
  return written_ && revoked.ok();
}

void Registrar::SetReady(bool ready) {
  {
    absl::MutexLock lock(&mutex_);
    if (self_.ready == ready) return;
    self_.ready = ready;
  }
  thread_.Refresh();
}

void Registrar::EntryMissing() {
  Suspect();
  thread_.Refresh();
}

Registrar::State Registrar::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

// A daemon that lost its entry when we did notices it within a third of the TTL, and may then have
// to find another member of etcd.
void Registrar::Suspect() {
  absl::MutexLock lock(&mutex_);
  state_.suspect_until = thread_.now() + 2 * ttl_.count();
}

// How often the lease is kept alive.
SteadyMs Registrar::Interval() const {
  absl::MutexLock lock(&mutex_);
  return ttl_.count() / 3;
}

void Registrar::SetError(std::string error) {
  {
    absl::MutexLock lock(&mutex_);
    if (state_.error == error) return;
    state_.error = std::move(error);
  }
  changed_();
}

void Registrar::Run() {
  SteadyMs told = 0;  // the time of suspicion whose end was told
  while (!thread_.stopping()) {
    thread_.BeginRead();
    const Status status = Step();
    if (thread_.stopping()) return;
    const SteadyMs interval = Interval();
    SteadyMs next = thread_.now() + interval;
    if (status.ok()) {
      failures_.Clear();
      backoff_.Reset();
      SetError("");
    } else {
      Failed(status);
      next = thread_.now() + std::min<SteadyMs>(interval, backoff_.Next().count());
    }
    const SteadyMs suspect_until = state().suspect_until;
    if (suspect_until != told && thread_.now() >= suspect_until) {
      told = suspect_until;
      changed_();
    } else if (suspect_until != told) {
      next = std::min(next, suspect_until);
    }
    thread_.SleepUntil(next);
  }
}

void Registrar::Failed(const Status& status) {
  std::optional<std::string> error = status.message();
  if (!held_) {
    error = failures_.Add(client_.endpoint_name(), status.message());
    client_.NextEndpoint();
  }
  if (error) SetError(absl::StrCat("not registered as ", key_, ": ", *error));
}

// One round: keeps the lease alive and sees to it that the entry is there.
Status Registrar::Step() {
  const bool was_held = std::exchange(held_, false);
  if (lease_ != 0) {
    Status kept = client_.KeepAlive(lease_);
    if (!kept.ok() && kept.code() != Code::kNotFound) return kept;
    if (!kept.ok()) {
      // Ended while we could not keep it alive, revoked, or forgotten by etcd with all it held.
      if (written_) Suspect();
      lease_ = 0;
    }
  }
  if (lease_ == 0) {
    const Result<RegistryLease::Lease> granted = client_.Grant(wanted_ttl_);
    if (!granted.ok()) return granted.status();
    lease_ = granted->id;
    absl::MutexLock lock(&mutex_);
    ttl_ = granted->ttl;
  }
  return Write(was_held);
}

// OK when the entry may be replaced by ours.
Status Registrar::WriteOver(const RegistryLease::Entry& entry) const {
  absl::MutexLock lock(&mutex_);
  const Result<RegistryRecord> holder = DecodeRegistryRecord(key_, entry.value);
  if (holder.ok() && holder->uid == self_.uid) {
    if (holder->started_at_ms <= self_.started_at_ms) return Status();
    return Status(Code::kRefused, "held by a later run of this pod-uid");
  }
  const std::string who =
      holder.ok() && !holder->uid.empty()
          ? holder->name + " (uid " + holder->uid + "), which claims the same address"
          : "an entry that does not say who wrote it";
  const std::string until =
      entry.lease != 0 ? "; it goes when its lease ends" : "; it has no lease, delete it by hand";
  return Status(Code::kRefused, "held by " + who + until);
}

Status Registrar::Write(bool was_held) {
  std::string value;
  {
    absl::MutexLock lock(&mutex_);
    value = EncodeRegistryRecord(self_);
  }
  constexpr int kAttempts = 3;  // somebody may write in between
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Result<std::optional<RegistryLease::Entry>> entry = client_.Get(key_);
    if (!entry.ok()) return entry.status();
    std::int64_t revision = 0;
    if (entry->has_value()) {
      if (Status status = WriteOver(**entry); !status.ok()) {
        held_ = true;
        return status;
      }
      written_ = (*entry)->lease == lease_;
      if (written_ && (*entry)->value == value) return Status();
      revision = (*entry)->mod_revision;
    } else if (written_) {
      Suspect();
      written_ = false;
    }
    if (was_held) {
      // Nobody else holds the entry any more. The error is cleared now, since the watch may see our
      // entry before PutIf returns.
      absl::MutexLock lock(&mutex_);
      state_.error.clear();
    }
    const Result<bool> done = client_.PutIf(key_, value, lease_, revision);
    if (!done.ok()) return done.status();
    if (*done) {
      written_ = true;
      return Status();
    }
  }
  return Status(Code::kUnavailable, "the entry is written by somebody else all the time");
}

}  // namespace podmirror::discovery
