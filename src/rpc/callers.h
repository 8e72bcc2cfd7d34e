// Callers knows who is at the other end of the connections that calls come by. gRPC tells of each
// call what its client presented, but not whether we have seen that connection before; so the
// certificate is remembered together with the address of the connection, and checked once for each,
// not for each call.
// Thread safety: all calls from any thread.
// Invariants: memory is bounded; a connection that was forgotten is checked anew; what is
// remembered of an address is of the connection that came from there last.
#pragma once

#include <grpcpp/server_context.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "rpc/connection_limit.h"
#include "trust/access.h"
#include "trust/keyring.h"
#include "trust/presented.h"

namespace podmirror::rpc {

struct Caller {
  bool tls = false;
  // What it presented; null when it presented none.
  std::shared_ptr<const trust::Presented> certificate;
};

class Callers {
 public:
  // keyring: null without TLS. Both must outlive this.
  Callers(const trust::Keyring* keyring, const Env& env) : keyring_(keyring), env_(env) {}

  // Who makes a call. Requires of this and of Identify: the call has come and is not over.
  Caller Of(const grpc::ServerContextBase& context);
  // The same as one who may do something. kUnauthenticated when it is not known who.
  Result<trust::Asker> Identify(const grpc::ServerContextBase& context, const std::string& method,
                                const trust::Access& access);

  // Who makes a call that was let in, for as long as that goes on.
  trust::Standing StandingOf(const grpc::ServerContextBase& context, const trust::Asker& asker,
                             const trust::Access& access);

  // Who makes a call would be a peer and is none; too often, and Admit says so. Clients whose
  // tokens are wrong do not count: they may share their address, a proxy's, with those whose are
  // right.
  void Refused(const grpc::ServerContextBase& context);
  // Whether the connection that comes from this address (without brackets) is to be let in. If so,
  // what was remembered of a former one from there is forgotten.
  bool Admit(const std::string& ip, std::uint16_t port);

  // Whether a daemon that makes a call may be a peer, by the credentials as they are now. plain:
  // without TLS it may. kRefused says why not.
  Status CheckPeer(const Caller& caller, bool plain) const;

  // Connections remembered at a time, and bytes of their certificates: a chain may have 100 KB, and
  // takes three times as much once it is parsed. When there are more, down to half are forgotten.
  static constexpr std::size_t kMaxKnown = 16 * 1024;
  static constexpr std::size_t kMaxKnownBytes = 8 << 20;

  // What was presented on the connection of this address, as gRPC has both
  // ("ipv6:%5Bfd00::7%5D:51234"): the same object as long as it is remembered, and `pem` stays the
  // same. Requires: a keyring.
  std::shared_ptr<const trust::Presented> Presented(const std::string& address, std::string pem);

 private:
  struct Known {
    std::string pem;  // the certificate and those that came with it
    std::shared_ptr<const trust::Presented> presented;
  };

  void Remember(const std::string& address, Known known);

  const trust::Keyring* const keyring_;
  const Env& env_;
  ConnectionLimit limit_;
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, Known> known_ ABSL_GUARDED_BY(mu_);
  std::size_t known_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of all Known::pem
};

// "10.0.0.7" of "ipv4:10.0.0.7:51234", "fd00::7" of "ipv6:%5Bfd00::7%5D:51234".
std::string IpOf(const std::string& grpc_address);

}  // namespace podmirror::rpc
