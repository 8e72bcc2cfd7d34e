// Keyring holds the credentials in use, and looks at their files again. What counts is what the
// files hold: Kubernetes replaces a whole folder by changing one link, so neither the times of the
// files nor a watch on them would tell. What cannot be used is not taken, and the former stays: a
// certificate without its key, for example, of a pair that is being written.
//
// Thread safety: Look from one thread, all else from any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "base/status.h"
#include "trust/credentials.h"
#include "trust/looked.h"

namespace podmirror::trust {

class Keyring {
 public:
  // Reads the files for the first time. kInvalid names the setting. key: may be the same file as
  // cert; ca: may be empty. `env` must outlive the keyring.
  static Result<std::unique_ptr<Keyring>> New(PemFiles files, std::vector<NamePattern> peers,
                                              const Env& env);

  std::shared_ptr<const Credentials> current() const;

  // Reads the files again.
  Looked Look();

  struct State {
    WallMs loaded_at = 0;  // when the current ones were taken
    std::string error;     // why the files as they are now were not taken; empty: they were
  };
  State state() const;

 private:
  Keyring(PemFiles files, std::vector<NamePattern> peers, const Env& env);

  const PemFiles files_;
  const std::vector<NamePattern> peers_;
  const Env& env_;
  std::uint64_t number_ = 0;  // Look's own
  PemFiles refused_;          // Look's own: what the files held when they were refused
  mutable absl::Mutex mu_;
  std::shared_ptr<const Credentials> current_ ABSL_GUARDED_BY(mu_);
  State state_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::trust
