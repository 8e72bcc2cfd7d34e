// The JSON documents of the REST API. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/cache.h"
#include "rest/json_writer.h"
#include "rest/rest_server.h"
#include "sync/types.h"
#include "trust/keyring.h"
#include "trust/permission.h"

namespace podmirror::rest {

// Writes "key", "value" or "value_base64", "version", "ttl_ms" (null without expiry) into the open
// object of `json`.
void WriteEntryMembers(const Entry& entry, WallMs now, JsonWriter& json);
// The same without the value.
void WriteKeyMembers(const Entry& entry, WallMs now, JsonWriter& json);

// {"type","key","value" or "value_base64","version","ttl_ms"}
std::string EntryDocument(const Entry& entry, WallMs now);
// {"types":[{"type","entries","bytes"}]}
std::string TypesDocument(const std::map<std::int32_t, TypeStats>& types);
// {"type","key","version","ack":{…}}
std::string WriteDocument(std::int32_t type, std::string_view key,
                          const sync::WriteOutcome& outcome);
struct BatchCounts {
  std::size_t sets = 0;
  std::size_t deletes = 0;
  std::optional<std::size_t> touches = std::nullopt;  // none: it was not about touches
};
// {"set","deleted","touched","missing","ack":{…}}; touched and missing only of touches.
std::string BatchDocument(const BatchCounts& counts, const sync::WriteOutcome& outcome);
// {"certificates":[{"use","subject","sans","not_before","not_after","loaded_at","error"}]}; null
// without TLS.
std::string TlsDocument(const trust::Keyring* keyring);
// {"subject","roles","allow":[{"verbs","types","prefix"}]}
std::string WhoamiDocument(const trust::Subject& subject);
std::string PeersDocument(const std::vector<sync::PeerStatus>& peers);

struct StatusInput {
  const RestOptions& options;
  sync::NodeStatus node;
  CacheStats cache;
  std::uint64_t digest = 0;
  std::int64_t uptime_ms = 0;
  DiscoveryView discovery;
};
std::string StatusDocument(const StatusInput& input);

}  // namespace podmirror::rest
