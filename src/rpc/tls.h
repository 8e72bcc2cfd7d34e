// How gRPC proves itself with the credentials in use: at our port, and towards peers.
// Thread safety: as each says.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "base/status.h"
#include "trust/keyring.h"
#include "trust/presented.h"

namespace podmirror::rpc {

// For a port: each handshake begins with the credentials of that time. A client is asked for a
// certificate, and the handshake takes any, or none: who serves a call looks at it (callers.h), so
// that a wrong one can be told what is wrong. `keyring` must outlive the server.
std::shared_ptr<grpc::ServerCredentials> NewServerCredentials(const trust::Keyring& keyring);

// What became of one dial: whom it led to, or why that is no peer.
// Thread safety: all calls from any thread.
class DialledPeer {
 public:
  // The other side's certificate, once it was believed to be a peer's.
  std::shared_ptr<const trust::Presented> presented() const;
  // kRefused, once it was not.
  std::optional<Status> refusal() const;
  void Set(std::shared_ptr<const trust::Presented> presented, Status verdict);

 private:
  mutable absl::Mutex mu_;
  std::shared_ptr<const trust::Presented> presented_ ABSL_GUARDED_BY(mu_);
  std::optional<Status> refusal_ ABSL_GUARDED_BY(mu_);
};

// For one channel to a peer: presents our certificate as it is now, and ends the handshake when the
// other side's is not that of a peer, before anything was sent. The outcome goes to `peer`. The
// keyring and `env` must outlive the channel.
std::shared_ptr<grpc::ChannelCredentials> NewPeerCredentials(const trust::Keyring& keyring,
                                                             std::shared_ptr<DialledPeer> peer,
                                                             const Env& env);

}  // namespace podmirror::rpc
