// Which daemons a client believes to be daemons, by the names in their certificates. They are
// dialled by addresses that discovery found, so the name cannot come from what is dialled: the
// options tell it.
// Thread safety: a value that does not change.
// Invariants: (1) there is always a name to be carried: no certificate is accepted without one.
//             (2) only subject alternative names count, never the subject's common name, and a name
//                 with a NUL or another unprintable character is none.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "client/options.h"
#include "trust/name_pattern.h"

namespace podmirror::client {

class DaemonNames {
 public:
  // Those of options.tls->names or, without any, the DNS names of options.peers. kInvalid names the
  // option that is wrong. Requires: options.tls.
  static Result<DaemonNames> New(const Options& options);

  // kRefused with the reason unless the certificate (PEM) carries a name that is expected. Its
  // chain and its times are not looked at: gRPC does that.
  Status Check(const std::string& certificate) const;

  // The name to ask for when a connection is made (SNI): the first that is one host's; empty when
  // there is none. What answers need not be that host.
  std::string ServerName() const;

 private:
  DaemonNames(std::vector<trust::NamePattern> names, bool are_hosts)
      : names_(std::move(names)), are_hosts_(are_hosts) {}

  std::vector<trust::NamePattern> names_;
  // What the caller dials, not what `names` says: then a certificate's own "*.example.com" stands
  // for a host, as everywhere else.
  bool are_hosts_;
};

}  // namespace podmirror::client
