#include "client/calls.h"

#include <absl/time/time.h>

#include <string>

namespace podmirror::client {

bool Calls::stopping() const {
  absl::MutexLock lock(&mu_);
  return stopping_;
}

bool Calls::Pause(std::chrono::milliseconds time) const {
  absl::MutexLock lock(&mu_);
  bool late = false;
  while (!stopping_ && !late) late = stopped_.WaitWithTimeout(&mu_, absl::FromChrono(time));
  return !stopping_;
}

void Calls::Stop() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  stopped_.SignalAll();
  // Under the lock, because without it a context could be destroyed meanwhile. TryCancel calls
  // nothing of ours that takes this lock.
  for (grpc::ClientContext* context : attempts_) context->TryCancel();
  while (running_ > 0) ended_.Wait(&mu_);
}

Status Calls::Begin() {
  absl::MutexLock lock(&mu_);
  if (stopping_) return {Code::kUnavailable, "the client ends"};
  if (running_ >= limit_) {
    return {Code::kExhausted, std::to_string(running_) + " calls are running: max_calls"};
  }
  ++running_;
  return {};
}

void Calls::End() {
  absl::MutexLock lock(&mu_);
  --running_;
  ended_.SignalAll();
}

void Calls::Add(grpc::ClientContext* context) {
  absl::MutexLock lock(&mu_);
  attempts_.insert(context);
  if (stopping_) context->TryCancel();
}

void Calls::Remove(grpc::ClientContext* context) {
  absl::MutexLock lock(&mu_);
  attempts_.erase(context);
}

}  // namespace podmirror::client
