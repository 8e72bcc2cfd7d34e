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

// The entry under `key`. Other programs write only an address, or JSON of their own: then it is the
// value, or the last part of the key, that says where the peer is. kInvalid when neither does, or
// when what the value says cannot be.
Result<RegistryRecord> DecodeRegistryRecord(const std::string& key, std::string_view value);

// Peers are all entries but that of `self`: the one with our UID, which has to have our address too
// for the set to list us. Another entry with our address is left over, or claims what is ours.
RecordRules RegistryRules(const RegistryRecord& self);

// For who has no entry of its own: peers are all entries, and every set counts.
RecordRules RegistryRulesOfClient();

}  // namespace podmirror::discovery
