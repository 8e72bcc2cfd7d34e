#include "trust/token_keys.h"

#include <utility>

namespace podmirror::trust {

TokenKeys::TokenKeys(std::function<Result<std::string>()> read, bool remote,
                     std::function<void()> wake, const Env& env)
    : read_(std::move(read)), remote_(remote), wake_(std::move(wake)), env_(env) {}

std::shared_ptr<const KeySet> TokenKeys::current() const {
  absl::MutexLock lock(&mu_);
  return current_;
}

std::string TokenKeys::error() const {
  absl::MutexLock lock(&mu_);
  return error_;
}

Looked TokenKeys::Look() {
  const SteadyMs now = env_.now().steady;
  {
    absl::MutexLock lock(&mu_);
    const bool due = due_ || current_ == nullptr || now - looked_at_ >= kRefreshMs;
    if (remote_ && !due) return Looked::kUnchanged;
    due_ = false;
    looked_at_ = now;
  }
  return Take(read_());
}

Looked TokenKeys::Take(const Result<std::string>& document) {
  absl::MutexLock lock(&mu_);
  if (document.ok() && current_ != nullptr && *document == document_) {
    error_.clear();
    return Looked::kUnchanged;
  }
  Result<std::shared_ptr<const KeySet>> keys =
      document.ok() ? KeySet::Parse(*document)
                    : Result<std::shared_ptr<const KeySet>>(document.status());
  if (keys.ok()) {
    current_ = std::move(*keys);
    document_ = *document;
    error_.clear();
    return Looked::kTaken;
  }
  const bool still = error_ == keys.status().message();
  error_ = keys.status().message();
  return still ? Looked::kStill : Looked::kRefused;
}

void TokenKeys::Missed() {
  {
    absl::MutexLock lock(&mu_);
    if (due_ || env_.now().steady - looked_at_ < kMissedMs) return;
    due_ = true;
  }
  wake_();
}

}  // namespace podmirror::trust
