// FollowCall carries a Follower's questions to one daemon, and what that tells to the Follower, for
// as long as the daemon can be followed. A question that comes at a bad time is asked again.
// Thread safety: Run once, by one thread; Cancel from any.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "base/env.h"
#include "base/status.h"
#include "client/credentials.h"
#include "client/pool.h"
#include "client/verdict.h"
#include "follow/follower.h"
#include "podmirror/v1/follow.grpc.pb.h"

namespace podmirror::client {

class FollowCall {
 public:
  // follower: is used with follower_mu only. on_change: the follower was told something; called
  // without a lock. All must outlive this.
  FollowCall(follow::Follower* follower, absl::Mutex& follower_mu, Env& env,
             const v1::ChangesRequest& what, std::chrono::milliseconds deadline,
             std::function<void()> on_change);
  ~FollowCall();

  // Until the daemon fails, or Cancel. How it failed.
  Verdict Run(const Pool::Connection& connection, const Credentials::State& with);
  void Cancel();

 private:
  struct Question;

  void ReadChanges(v1::Follow::Stub& stub);
  // Waits for what is to be done next, and does it. False: the call is over, or failure_ is set.
  bool Step(v1::Follow::Stub& stub, const Credentials::State& with);
  std::unique_ptr<Question> Ask(const sync::Message& message);
  void Send(Question& question, v1::Follow::Stub& stub, const Credentials::State& with);
  // Takes the answer; what is to be asked next is on its way before it is merged.
  Status Take(Question& question, v1::Follow::Stub& stub, const Credentials::State& with);
  void Fail(const Verdict& verdict);
  bool Over() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return ended_ || cancelled_ || failure_.has_value();
  }

  absl::Mutex& mu_;  // of the follower, and of what is below
  follow::Follower* const follower_ ABSL_PT_GUARDED_BY(mu_);
  Env& env_;
  const v1::ChangesRequest& what_;
  const std::chrono::milliseconds deadline_;
  const std::function<void()> on_change_;
  absl::CondVar changed_;
  grpc::ClientContext stream_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;              // the stream
  std::optional<Verdict> failure_ ABSL_GUARDED_BY(mu_);  // of a question, or of ours
  grpc::Status finished_ ABSL_GUARDED_BY(mu_);
  SteadyMs heard_at_ ABSL_GUARDED_BY(mu_) = 0;
  std::unique_ptr<Question> question_;  // Run's; what it points to is guarded
};

}  // namespace podmirror::client
