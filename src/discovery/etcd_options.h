// The etcd options, checked: what both etcd sources need of them.
// Thread safety: plain values.
#pragma once

#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "discovery/peer_source.h"
#include "net/address.h"

namespace podmirror::discovery {

struct CheckedEtcdOptions {
  EtcdOptions options;
  std::vector<net::BaseUrl> endpoints;  // at least one, in random order

  // "<prefix>/pods/<namespace>": where the records lie, no "/" at the end. Nothing else is read.
  std::string where;
};

// kInvalid naming the setting that is wrong: nothing that was set is silently ignored. The order of
// the endpoints is drawn from `env`.
Result<CheckedEtcdOptions> CheckEtcdOptions(EtcdOptions options, const std::string& ns, Env& env);

// PEM texts; empty where the option is not set.
struct EtcdTls {
  std::string ca, cert, key;
};

// The files of credentials as they are now, checked. kInvalid naming the setting that is wrong.
Result<EtcdTls> ReadTls(const EtcdOptions& options);
// The content of password_file, kInvalid naming the setting.
Result<std::string> ReadPassword(const EtcdOptions& options);

// The error to tell when an etcd closed the connection right after the handshake. TLS brings no
// more than an alert, so the text depends only on whether we have a client certificate.
std::string RefusedByTls(const EtcdOptions& options);

}  // namespace podmirror::discovery
