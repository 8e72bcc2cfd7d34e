// TokenKeys holds the keys in use that tokens are checked with, and reads them again: from a file,
// or from the issuer's URL. When they cannot be read, or are no keys, the former stay.
// Thread safety: Look from one thread, all else from any.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "base/status.h"
#include "trust/key_set.h"
#include "trust/looked.h"

namespace podmirror::trust {

class TokenKeys {
 public:
  // How often a URL is asked although no token asks for it.
  static constexpr SteadyMs kRefreshMs = 5 * 60'000;
  // How often it is asked at most because a token names a key that is not there.
  static constexpr SteadyMs kMissedMs = 10'000;

  // read: gives the document. remote: it takes a while, and so is called by Look alone, when it is
  // due; else by each Look. `wake` makes somebody call Look soon. `env` must outlive this.
  TokenKeys(std::function<Result<std::string>()> read, bool remote, std::function<void()> wake,
            const Env& env);

  // Null until they could be read for the first time.
  std::shared_ptr<const KeySet> current() const;

  // Reads them again.
  Looked Look();
  // Why they could not be read when it was tried last; empty: they could.
  std::string error() const;

  // A token names a key that is not there: the issuer may have a new one, so that Look is due.
  void Missed();

 private:
  Looked Take(const Result<std::string>& document);

  const std::function<Result<std::string>()> read_;
  const bool remote_;
  const std::function<void()> wake_;
  const Env& env_;
  mutable absl::Mutex mu_;
  std::shared_ptr<const KeySet> current_ ABSL_GUARDED_BY(mu_);
  std::string document_ ABSL_GUARDED_BY(mu_);  // what current_ was made of
  std::string error_ ABSL_GUARDED_BY(mu_);
  SteadyMs looked_at_ ABSL_GUARDED_BY(mu_) = 0;
  bool due_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace podmirror::trust
