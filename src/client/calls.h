// The calls that run: how many there may be, and how they end when the client ends.
// Thread safety: all calls from any thread, Stop once.
// Invariants: (1) no more than `limit` calls run.
//             (2) when Stop has returned, none runs and none begins.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_set.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/client_context.h>

#include <chrono>

#include "base/status.h"

namespace podmirror::client {

class Calls {
 public:
  explicit Calls(int limit) : limit_(limit) {}

  // A call of the application's, from its first look for a daemon to its return.
  class Running {
   public:
    explicit Running(Calls& calls) : calls_(calls), status_(calls.Begin()) {}
    ~Running() {
      if (status_.ok()) calls_.End();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    // kExhausted or, when the client ends, kUnavailable: then the call must not go on.
    const Status& status() const { return status_; }

   private:
    Calls& calls_;
    const Status status_;
  };

  // While it lives, Stop cancels the context. When Stop came before, the context is cancelled at
  // once.
  class Attempt {
   public:
    Attempt(Calls& calls, grpc::ClientContext& context) : calls_(calls), context_(context) {
      calls_.Add(&context_);
    }
    ~Attempt() { calls_.Remove(&context_); }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;

   private:
    Calls& calls_;
    grpc::ClientContext& context_;
  };

  bool stopping() const;
  // Waits for so long, or until Stop. Returns whether it goes on.
  bool Pause(std::chrono::milliseconds time) const;
  // Cancels all attempts and waits until no call runs.
  void Stop();

 private:
  Status Begin();
  void End();
  void Add(grpc::ClientContext* context);
  void Remove(grpc::ClientContext* context);

  const int limit_;
  mutable absl::Mutex mu_;
  absl::CondVar ended_;            // signalled when a call has ended
  mutable absl::CondVar stopped_;  // signalled by Stop
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<grpc::ClientContext*> attempts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::client
