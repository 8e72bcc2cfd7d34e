// What a daemon writes into the registry about itself, and which peers such entries make.
// Thread safety: pure functions on plain values.
// Invariants: (1) every text that leaves here as part of a PodRecord is printable ASCII of at most
//                 253 bytes, its ip canonical.
//             (2) a set holds each id and each address once, and never this daemon's own.
#pragma once

#include <string>
#include <string_view>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "discovery/pod_store.h"
#include "net/address.h"

namespace podmirror::discovery {

struct RegistryRecord {
  std::string name;       // the address, where the writer gave none
  std::string uid;        // empty where another program wrote the entry
  net::HostPort address;  // an IP address
  bool ready = false;
  WallMs started_at_ms = 0;  // 0 = unknown
};

// One JSON object: name, uid, address, started_at, ready.
std::string EncodeRegistryRecord(const RegistryRecord& record);

// Reads the entry under `key`. Other programs write only an address, or JSON of their own: then the
// value, or else the last part of the key, is the peer's address. kInvalid when neither is one, or
// when the JSON has a member that cannot be right.
Result<RegistryRecord> DecodeRegistryRecord(const std::string& key, std::string_view value);

// Peers are all entries with neither our UID nor our address. An entry with both is our own: while
// it is there, the set lists us. An entry with our UID only is left from an earlier run; one with
// our address only is left over, or claims an address that is ours.
RecordRules RegistryRules(const RegistryRecord& self);

// For a client, which has no entry of its own: all entries are peers, and every set counts as if it
// listed us.
RecordRules RegistryRulesOfClient();

}  // namespace podmirror::discovery
