// The etcd options, checked: what both etcd sources need of them.
// Thread safety: plain values.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "discovery/peer_source.h"
#include "net/address.h"

namespace podmirror::discovery {

struct CheckedEtcdOptions {
  EtcdOptions options;
  std::vector<net::BaseUrl> endpoints;  // at least one, in random order

  // "<prefix>/pods/<namespace>": where the records lie, no "/" at the end.
  std::string where;
};

// kInvalid naming the setting that is wrong: nothing that was set is silently ignored.
Result<CheckedEtcdOptions> CheckEtcdOptions(EtcdOptions options, const std::string& ns);

// The content of password_file, kInvalid naming the setting.
Result<std::string> ReadPassword(const EtcdOptions& options);

}  // namespace podmirror::discovery
