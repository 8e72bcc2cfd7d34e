#include "discovery/source_thread.h"

#include <absl/time/time.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace podmirror::discovery {

SourceThread::~SourceThread() { Stop(); }

void SourceThread::Start(std::function<void()> run) {
  thread_ = std::thread([this, run = std::move(run)] {
    run();
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    changed_.SignalAll();
  });
}

void SourceThread::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  // Again and again, because one call may come just before the thread begins to block.
  for (bool ended = false; !ended;) {
    wake_();
    absl::MutexLock lock(&mutex_);
    if (!ended_) changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(50));
    ended = ended_;
  }
  thread_.join();
}

void SourceThread::Refresh() {
  {
    absl::MutexLock lock(&mutex_);
    refresh_ = true;
    changed_.SignalAll();
  }
  wake_();
}

bool SourceThread::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void SourceThread::BeginRead() {
  absl::MutexLock lock(&mutex_);
  refresh_ = false;
  last_read_ = now();
}

SteadyMs SourceThread::ReadDueLocked(SteadyMs planned) const {
  if (!refresh_) return planned;
  return last_read_ ? std::min<SteadyMs>(planned, *last_read_ + kMinReadInterval.count()) : 0;
}

SteadyMs SourceThread::ReadDue(SteadyMs planned) const {
  absl::MutexLock lock(&mutex_);
  return ReadDueLocked(planned);
}

bool SourceThread::SleepUntil(SteadyMs until) {
  absl::MutexLock lock(&mutex_);
  while (!stopping_) {
    const SteadyMs left = ReadDueLocked(until) - now();
    if (left <= 0) return true;
    changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(left));
  }
  return false;
}

bool SourceThread::PauseUntil(SteadyMs until) {
  absl::MutexLock lock(&mutex_);
  while (!stopping_) {
    const SteadyMs left = until - now();
    if (left <= 0) return true;
    changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(left));
  }
  return false;
}

std::chrono::milliseconds SourceThread::WithJitter(std::chrono::milliseconds base) {
  const auto span = static_cast<std::uint64_t>(base.count() / 4 + 1);
  return base + std::chrono::milliseconds(env_.Random() % span);
}

std::chrono::milliseconds Backoff::Next() {
  const auto jitter = static_cast<std::int64_t>(env_.Random() % (step_.count() / 2));
  const std::chrono::milliseconds wait = step_ - std::chrono::milliseconds(jitter);
  step_ = std::min(step_ * 2, kLongest);
  return wait;
}

}  // namespace podmirror::discovery
