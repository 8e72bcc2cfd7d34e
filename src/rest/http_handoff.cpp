#include "rest/http_handoff.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace podmirror::rest {

Inbox::Inbox() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

Inbox::~Inbox() {
  if (fd_ >= 0) close(fd_);
}

void Inbox::Post(std::shared_ptr<Connection> connection) {
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return;
    posted_.push_back(std::move(connection));
  }
  Wake();
}

void Inbox::Wake() { eventfd_write(fd_, 1); }

void Inbox::Changed(bool look) {
  if ((look || streams.load() > 0) && !changed_.exchange(true)) Wake();
}

std::vector<std::shared_ptr<Connection>> Inbox::Take() {
  eventfd_t count = 0;
  eventfd_read(fd_, &count);
  absl::MutexLock lock(&mu_);
  return std::exchange(posted_, {});
}

void Inbox::Close() {
  std::vector<std::shared_ptr<Connection>> dropped;
  absl::MutexLock lock(&mu_);
  closed_ = true;
  dropped.swap(posted_);
}

void Handoff::Begin() {
  absl::MutexLock lock(&mu_);
  if (phase_ != Phase::kWorker) std::abort();
  phase_ = Phase::kHandling;
}

bool Handoff::End(bool attention) {
  absl::MutexLock lock(&mu_);
  if (phase_ == Phase::kAnswered) {
    phase_ = Phase::kWorker;
    return true;
  }
  if (phase_ != Phase::kHandling) std::abort();
  phase_ = Phase::kWaiting;
  attention_ = attention;
  return false;
}

bool Handoff::Defer() {
  absl::MutexLock lock(&mu_);
  if (phase_ != Phase::kWaiting) return false;
  attention_ = true;
  return true;
}

bool Handoff::waiting() {
  absl::MutexLock lock(&mu_);
  return phase_ == Phase::kWaiting;
}

bool Handoff::Answered(bool attention) {
  absl::MutexLock lock(&mu_);
  if (phase_ == Phase::kHandling) {
    phase_ = Phase::kAnswered;
    return false;
  }
  if (phase_ != Phase::kWaiting) std::abort();  // answered twice
  phase_ = Phase::kWorker;
  return attention || attention_;
}

}  // namespace podmirror::rest
