// Presented is the certificate that somebody presented at the start of a connection, and whether it
// is to be believed. It is checked then, and once more whenever our credentials have changed: by
// then its dates do not count any more, since a connection may outlive the certificate that opened
// it.
// Thread safety: all calls from any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "base/status.h"
#include "trust/certificate.h"
#include "trust/credentials.h"

namespace podmirror::trust {

class Presented {
 public:
  // use: of the certificate; now: when the connection began.
  Presented(CertificateChain chain, Credentials::Use use, const Credentials& credentials,
            WallMs now);

  // kRefused says, for people, why the certificate is not to be believed.
  Status Check(const Credentials& current) const;
  // The same, and that it is a peer's: by its names, and for both uses.
  Status CheckPeer(const Credentials& current) const;

  const CertificateChain& chain() const { return chain_; }
  const Names& names() const { return names_; }

 private:
  void Refresh(const Credentials& current) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Status JudgePeer(const Credentials& current) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CertificateChain chain_;
  const Credentials::Use use_;
  const Names names_;
  mutable absl::Mutex mu_;
  mutable std::uint64_t checked_with_ ABSL_GUARDED_BY(mu_);  // Credentials::number
  mutable Status verdict_ ABSL_GUARDED_BY(mu_);
  const bool good_at_first_;
  mutable std::optional<Status> peer_verdict_ ABSL_GUARDED_BY(mu_);  // once somebody has asked
};

}  // namespace podmirror::trust
