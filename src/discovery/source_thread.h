// The thread of a source and all that it waits for: stop, refresh, the next reading, back-off. Env
// tells the time and draws the random parts, but waiting itself takes real time.
// Thread safety: Start once, then Stop once; Refresh from any thread; all else from the source's
// own thread.
// Invariants: (1) Stop returns only when the run has returned.
//             (2) readings asked for by Refresh begin at least kMinReadInterval after the last one.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "base/env.h"

namespace podmirror::discovery {

inline constexpr std::chrono::milliseconds kMinReadInterval{1000};

class SourceThread {
 public:
  // `wake` makes whatever the run blocks in (a call to a server) return soon. It is called from the
  // threads that call Stop and Refresh, without a lock, and may come when nothing blocks.
  SourceThread(Env& env, std::function<void()> wake) : env_(env), wake_(std::move(wake)) {}
  ~SourceThread();

  // Calls `run` on a new thread; it returns when stopping().
  void Start(std::function<void()> run);
  // No-op if Start was never called.
  void Stop();
  void Refresh();

  bool stopping() const;
  SteadyMs now() const { return env_.now().steady; }
  // `base` and up to a quarter more.
  std::chrono::milliseconds WithJitter(std::chrono::milliseconds base);
  // The source begins to read everything, which is what every Refresh up to now has asked for.
  void BeginRead();
  // When to read everything again: at `planned`, or earlier if a refresh is wanted.
  SteadyMs ReadDue(SteadyMs planned) const;
  // Waits until ReadDue(until) or stop, whichever comes first. False when stopping.
  bool SleepUntil(SteadyMs until);
  // The same, but no refresh ends it: a server has asked for this time.
  bool PauseUntil(SteadyMs until);

 private:
  SteadyMs ReadDueLocked(SteadyMs planned) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Env& env_;
  const std::function<void()> wake_;
  std::thread thread_;
  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool refresh_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<SteadyMs> last_read_ ABSL_GUARDED_BY(mutex_);
};

// How long to wait before the next attempt: doubles from 200 ms to 5 s, each time less a random
// part, at most half of it. So a fleet that lost its store together does not come back together.
class Backoff {
 public:
  explicit Backoff(Env& env) : env_(env) {}
  std::chrono::milliseconds Next();
  void Reset() { step_ = kFirst; }

 private:
  static constexpr std::chrono::milliseconds kFirst{200};
  static constexpr std::chrono::milliseconds kLongest{5000};
  Env& env_;
  std::chrono::milliseconds step_ = kFirst;
};

}  // namespace podmirror::discovery
