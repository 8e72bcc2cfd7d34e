// The fixed list of peers of the static source: which addresses each entry stands for now.
// Thread safety: none; belongs to the source's thread.
// Invariants: (1) an entry whose name cannot be resolved keeps the addresses it had last.
//             (2) a set holds each address and port once, and never this pod's own.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/peer.h"
#include "base/status.h"
#include "net/address.h"

namespace podmirror::discovery {

class StaticPeers {
 public:
  // kInvalid naming the setting `peers` and the entry.
  static Result<StaticPeers> New(const std::vector<std::string>& entries, const Identity& self,
                                 std::uint16_t self_port);

  // The names that have to be resolved, each once.
  std::vector<std::string> Names() const;
  // What a name stands for from now on; a failure changes nothing.
  void Resolved(const std::string& name, const Result<std::vector<std::string>>& addresses);

  // Whether at least one entry stands for an address now.
  bool AnyKnown() const;
  PeerSet MakeSet() const;

 private:
  StaticPeers() = default;

  std::vector<net::HostPort> entries_;
  std::string self_ip_;  // canonical; empty = unknown
  std::uint16_t self_port_ = 0;
  std::map<std::string, std::vector<std::string>> addresses_;  // by name
};

}  // namespace podmirror::discovery
