// WriteGate decides which thread may use the sending side of a stream, and when the stream may be
// ended. Wakes, finished writes and closes come from different threads at any time; gRPC wants one
// write in flight, and nothing started on a call that has been given up.
//
// The owner is whoever pulls messages and writes them: it takes ownership by Wake, keeps it while a
// write is in flight, and gives it up by Idle, Leave or Fail. Each call below tells its caller what
// to do next, so that exactly one thread ends the stream, when nobody uses it any more.
// Thread safety: all calls from any thread; no lock is held when they return.
// Invariants: (1) at most one owner.
//             (2) a wake between the owner's last pull and its Idle makes Idle say kPump: no wake
//                 is lost.
//             (3) kEnd is said once, after Close or Fail, when neither owner nor canceller is left.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace podmirror::rpc {

class WriteGate {
 public:
  enum class Next {
    kNothing,
    kPump,    // the caller is the owner: pull and write
    kCancel,  // cancel what is in flight, then call Leave
    kEnd,     // the caller ends the stream
  };

  // A gate begins with its creator as the owner, so that no other thread writes before the creator
  // has set up the stream.
  WriteGate() = default;

  // Something may be there to be sent: kPump or kNothing.
  Next Wake() {
    absl::MutexLock lock(&mu_);
    if (closing_) return Next::kNothing;
    if (owned_) {
      woken_ = true;
      return Next::kNothing;
    }
    owned_ = true;
    ++users_;
    return Next::kPump;
  }

  // The owner has pulled and found nothing: kPump (it stays the owner), kEnd or kNothing.
  Next Idle() {
    absl::MutexLock lock(&mu_);
    if (woken_ && !closing_) {
      woken_ = false;
      return Next::kPump;
    }
    owned_ = false;
    return LeaveLocked();
  }

  // The owner's write failed, or it must not go on: kEnd or kNothing.
  Next Fail() {
    absl::MutexLock lock(&mu_);
    closing_ = true;
    owned_ = false;
    return LeaveLocked();
  }

  // The stream is to be ended: kCancel while there is an owner, whose write may be stuck; kEnd when
  // there is none; kNothing when the stream is being ended already.
  Next Close() {
    absl::MutexLock lock(&mu_);
    if (closing_) return Next::kNothing;
    closing_ = true;
    if (users_ == 0) return Next::kEnd;
    ++users_;
    return Next::kCancel;
  }

  // The canceller is done: kEnd or kNothing.
  Next Leave() {
    absl::MutexLock lock(&mu_);
    return LeaveLocked();
  }

  bool closing() const {
    absl::MutexLock lock(&mu_);
    return closing_;
  }

 private:
  Next LeaveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    --users_;
    return closing_ && users_ == 0 ? Next::kEnd : Next::kNothing;
  }

  mutable absl::Mutex mu_;
  bool owned_ ABSL_GUARDED_BY(mu_) = true;
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  int users_ ABSL_GUARDED_BY(mu_) = 1;  // how many there are of owner and canceller
};

}  // namespace podmirror::rpc
