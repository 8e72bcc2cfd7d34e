// What hellorpc.Sync can carry of our entries, and what its data become here. It has no versions,
// no deletes and no expiry, and its values must be UTF-8.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "cache/entry.h"
#include "hellorpc/hellorpc.pb.h"
#include "sync/legacy_pass.h"

namespace podmirror::rpc {

struct LegacyRequests {
  // Each request holds at most sync::kLegacyRequestBytes, or one larger entry. Of each key only the
  // newest value is in them.
  std::deque<hellorpc::SyncRequest> requests;
  std::uint64_t skipped = 0;  // values that are not UTF-8; deletes cannot be told and do not count
};
LegacyRequests ToLegacy(const std::vector<EntryRef>& entries);

struct LegacyEntries {
  std::vector<EntryRef> entries;  // each with its LegacyVersion
  std::uint64_t skipped = 0;      // keys or values that no entry can have
};
LegacyEntries FromLegacy(const hellorpc::SyncResponse& response);

// True when the request holds a single entry.
bool HoldsOne(const hellorpc::SyncRequest& request);

}  // namespace podmirror::rpc
