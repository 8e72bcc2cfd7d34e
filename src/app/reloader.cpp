#include "app/reloader.h"

#include <utility>

namespace podmirror::app {

Reloader::~Reloader() { Stop(); }

void Reloader::Start(std::function<void()> look) {
  thread_ = std::thread([this, look = std::move(look)] { Run(look); });
}

void Reloader::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  thread_.join();
}

void Reloader::Poke() {
  absl::MutexLock lock(&mu_);
  poked_ = true;
}

void Reloader::Run(const std::function<void()>& look) {
  for (;;) {
    {
      absl::MutexLock lock(&mu_);
      const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return poked_ || stopped_; };
      mu_.AwaitWithTimeout(absl::Condition(&due), interval_);
      if (stopped_) return;
      poked_ = false;
    }
    look();
  }
}

}  // namespace podmirror::app
