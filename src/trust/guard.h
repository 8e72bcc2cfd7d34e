// Guard says who a caller is, and so what it may do: by the token that it shows, or, without one,
// by the certificate that it presented. It reads the file of rules again when that has changed.
// Thread safety: Look from one thread, all else from any.
// Invariants: (1) who is not known is nobody: Identify has no default.
//             (2) a file of rules that is wrong changes nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "base/env.h"
#include "base/status.h"
#include "trust/jwt.h"
#include "trust/keyring.h"
#include "trust/looked.h"
#include "trust/permission.h"
#include "trust/presented.h"
#include "trust/rules.h"
#include "trust/token_keys.h"

namespace podmirror::trust {

using SubjectRef = std::shared_ptr<const Subject>;

class Guard {
 public:
  // Everybody may do everything. `env` must outlive the guard, as below.
  explicit Guard(const Env& env);
  // file: the rules. keyring and keys: null where no certificates, or none of an issuer's tokens,
  // are taken; these and `env` must outlive the guard. kInvalid when the file is wrong.
  static Result<std::unique_ptr<Guard>> New(std::string file, TokenRules token_rules,
                                            const Keyring* keyring, TokenKeys* keys,
                                            const Env& env);

  bool open() const { return open_ != nullptr; }

  // authorizations: the values of all headers (or metadata) of that name. certificate: null when
  // none was presented. kUnauthenticated says what is wrong, for people, and holds no part of a
  // token.
  Result<SubjectRef> Identify(absl::Span<const std::string_view> authorizations,
                              const Presented* certificate) const;

  // Reads the rules again.
  Looked Look();
  // Why the rules as they are now were not taken; empty: they were.
  std::string error() const;
  // The keys of tokens have changed.
  void ForgetTokens();
  // Another number when somebody may be let in otherwise than before.
  std::uint64_t number() const { return number_.load(std::memory_order_acquire); }

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Known {
    SubjectRef subject;
    WallMs until = 0;
  };

  Guard(std::string file, TokenRules token_rules, const Keyring* keyring, TokenKeys* keys,
        const Env& env);

  std::shared_ptr<const Rules> rules() const;
  Result<SubjectRef> ByToken(std::string_view token) const;
  Result<SubjectRef> ByIssued(std::string_view token, const Rules& rules) const;

  // Tokens remembered at a time, so that not each request costs a signature.
  static constexpr std::size_t kMaxKnown = 10'000;

  const SubjectRef open_;  // everybody; null where callers must be known
  const std::string file_;
  const TokenRules token_rules_;
  const Keyring* const keyring_ = nullptr;
  TokenKeys* const keys_ = nullptr;
  const Env& env_;
  std::atomic<std::uint64_t> number_{0};
  mutable absl::Mutex mu_;
  std::shared_ptr<const Rules> rules_ ABSL_GUARDED_BY(mu_);
  std::string text_ ABSL_GUARDED_BY(mu_);  // of the file when it was looked at last
  std::string error_ ABSL_GUARDED_BY(mu_);
  mutable absl::flat_hash_map<Digest, Known> known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::trust
