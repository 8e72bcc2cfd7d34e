#include "rpc/legacy_codec.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace podmirror::rpc {
namespace {

// Tags and lengths of one map element, generously.
constexpr std::size_t kElementBytes = 24;

}  // namespace

LegacyRequests ToLegacy(const std::vector<EntryRef>& entries) {
  absl::flat_hash_map<std::pair<std::int32_t, std::string_view>, const Entry*> newest;
  for (const EntryRef& entry : entries) {
    const Entry*& known = newest[{entry->type(), entry->key()}];
    if (known == nullptr || known->version() < entry->version()) known = entry.get();
  }
  LegacyRequests out;
  absl::flat_hash_map<std::int32_t, hellorpc::SyncData*> data;  // of the last request, by type
  std::size_t bytes = 0;
  for (const auto& [key, entry] : newest) {
    if (entry->tombstone()) continue;
    if (!IsUtf8(entry->value())) {
      ++out.skipped;
      continue;
    }
    const std::size_t size = entry->key().size() + entry->value().size() + kElementBytes;
    if (out.requests.empty() || bytes + size > sync::kLegacyRequestBytes) {
      out.requests.emplace_back();
      data.clear();
      bytes = 0;
    }
    bytes += size;
    hellorpc::SyncData*& of_type = data[entry->type()];
    if (of_type == nullptr) {
      of_type = out.requests.back().add_data();
      of_type->set_type(entry->type());
    }
    (*of_type->mutable_data())[std::string(entry->key())] = std::string(entry->value());
  }
  return out;
}

LegacyEntries FromLegacy(const hellorpc::SyncResponse& response) {
  LegacyEntries out;
  for (const hellorpc::SyncData& data : response.data()) {
    for (const auto& [key, value] : data.data()) {
      if (!IsValidKey(key) || value.size() > kMaxValueBytes) {
        ++out.skipped;
        continue;
      }
      out.entries.push_back(Entry::Make(data.type(), key, value, LegacyVersion(value)));
    }
  }
  return out;
}

bool HoldsOne(const hellorpc::SyncRequest& request) {
  return request.data_size() == 1 && request.data(0).data().size() == 1;
}

}  // namespace podmirror::rpc
