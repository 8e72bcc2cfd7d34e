#include "client/wire.h"

#include <utility>

#include "base/utf8.h"
#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

v1::AckLevel ToWire(Ack ack) {
  switch (ack) {
    case Ack::kDefault:
      return v1::ACK_LEVEL_DEFAULT;
    case Ack::kLocal:
      return v1::ACK_LEVEL_LOCAL;
    case Ack::kOne:
      return v1::ACK_LEVEL_ONE;
    case Ack::kMajority:
      return v1::ACK_LEVEL_MAJORITY;
    case Ack::kAll:
      return v1::ACK_LEVEL_ALL;
  }
  return v1::ACK_LEVEL_DEFAULT;
}

Ack FromWire(v1::AckLevel level) {
  switch (level) {
    case v1::ACK_LEVEL_LOCAL:
      return Ack::kLocal;
    case v1::ACK_LEVEL_ONE:
      return Ack::kOne;
    case v1::ACK_LEVEL_MAJORITY:
      return Ack::kMajority;
    case v1::ACK_LEVEL_ALL:
      return Ack::kAll;
    default:
      return Ack::kDefault;
  }
}

Status CheckKey(const std::string& key, const char* field, std::size_t index) {
  if (!key.empty() && key.find('\0') == key.npos && IsUtf8(key)) return {};
  return {Code::kInvalid,
          field + ("[" + std::to_string(index)) + "]: key must be UTF-8, not empty, without NUL"};
}

Status CheckPrefix(const std::string& prefix) {
  return IsUtf8(prefix) ? Status() : Invalid("prefix must be UTF-8");
}

bool OnCondition(const WriteOptions& options) {
  return options.if_version.has_value() || options.if_absent;
}

void PutOptions(const WriteOptions& options, v1::WriteOptions* to) {
  to->set_ack(OnCondition(options) ? v1::ACK_LEVEL_CONDITION : ToWire(options.ack));
  if (options.ack_timeout) to->set_timeout_ms(options.ack_timeout->count());
}

// Of a write of so many entries; 0 of one that can have none.
Status CheckCondition(const WriteOptions& options, std::size_t entries) {
  if (!OnCondition(options)) return {};
  if (entries != 1) return Invalid("a condition is for a set or a delete of one entry");
  if (options.if_version && options.if_version->empty()) return Invalid("if_version is empty");
  if (options.ack != Ack::kDefault && options.ack != Ack::kAll) {
    return Invalid("with a condition ack is always kAll");
  }
  return {};
}

template <typename Request>
Result<Request> Checked(Request request) {
  if (request.ByteSizeLong() > net::kMaxGrpcMessageBytes) {
    return Status(Code::kInvalid,
                  "request of " + std::to_string(request.ByteSizeLong()) + " bytes, over 64 MiB");
  }
  return request;
}

template <typename Request>
Result<Request> Selecting(const Selection& what) {
  if (Status status = CheckPrefix(what.prefix); !status.ok()) return status;
  Request request;
  request.mutable_types()->Add(what.types.begin(), what.types.end());
  request.set_prefix(what.prefix);
  return Checked(std::move(request));
}

// count: of the items that it was done to.
template <typename Response>
WriteResult ResultOf(std::uint32_t count, Response& response) {
  v1::AckResult& ack = *response.mutable_ack();
  WriteResult result;
  result.count = count;
  result.version = std::move(*response.mutable_version());
  result.required = FromWire(ack.required());
  result.met = ack.met();
  result.peers = ack.peers();
  result.acked = ack.acked();
  for (std::string& name : *ack.mutable_pending()) result.pending.push_back(std::move(name));
  return result;
}

}  // namespace

Result<v1::GetRequest> ToWire(const std::vector<Key>& keys) {
  v1::GetRequest request;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (Status status = CheckKey(keys[i].key, "keys", i); !status.ok()) return status;
    v1::Key* key = request.add_keys();
    key->set_type(keys[i].type);
    key->set_key(keys[i].key);
  }
  return Checked(std::move(request));
}

Result<v1::SetRequest> ToWire(const std::vector<Item>& items, const WriteOptions& options) {
  if (Status status = CheckCondition(options, items.size()); !status.ok()) return status;
  v1::SetRequest request;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (Status status = CheckKey(items[i].key, "items", i); !status.ok()) return status;
    v1::SetItem* item = request.add_items();
    item->set_type(items[i].type);
    item->set_key(items[i].key);
    item->set_value(items[i].value);
    item->set_ttl_ms(items[i].ttl.count());
    item->set_if_version(options.if_version.value_or(""));
    item->set_if_absent(options.if_absent);
  }
  PutOptions(options, request.mutable_options());
  return Checked(std::move(request));
}

Result<v1::DeleteRequest> ToWire(const std::vector<Key>& keys, const WriteOptions& options) {
  if (options.if_absent) return Invalid("if_absent is for what is to be set");
  if (Status status = CheckCondition(options, keys.size()); !status.ok()) return status;
  v1::DeleteRequest request;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (Status status = CheckKey(keys[i].key, "keys", i); !status.ok()) return status;
    v1::DeleteItem* item = request.add_items();
    item->set_type(keys[i].type);
    item->set_key(keys[i].key);
    item->set_if_version(options.if_version.value_or(""));
  }
  PutOptions(options, request.mutable_options());
  return Checked(std::move(request));
}

Result<v1::TouchRequest> ToWire(const std::vector<Key>& keys, std::chrono::milliseconds ttl,
                                const WriteOptions& options) {
  if (Status status = CheckCondition(options, 0); !status.ok()) return status;
  v1::TouchRequest request;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (Status status = CheckKey(keys[i].key, "keys", i); !status.ok()) return status;
    v1::TouchItem* item = request.add_items();
    item->set_type(keys[i].type);
    item->set_key(keys[i].key);
    item->set_ttl_ms(ttl.count());
  }
  PutOptions(options, request.mutable_options());
  return Checked(std::move(request));
}

Result<v1::DeletePrefixRequest> ToWire(std::int32_t type, const std::string& prefix,
                                       const WriteOptions& options) {
  if (Status status = CheckCondition(options, 0); !status.ok()) return status;
  if (Status status = CheckPrefix(prefix); !status.ok()) return status;
  v1::DeletePrefixRequest request;
  request.set_type(type);
  request.set_prefix(prefix);
  PutOptions(options, request.mutable_options());
  return Checked(std::move(request));
}

Result<v1::GetAllRequest> ToWire(const Selection& what) {
  return Selecting<v1::GetAllRequest>(what);
}

Result<v1::WatchRequest> ToWire(const WatchOptions& options) {
  auto request = Selecting<v1::WatchRequest>(options.what);
  if (!request.ok()) return request;
  if (!IsUtf8(options.since)) return Invalid("since must be an event's id");
  request->set_initial(options.initial);
  request->set_since(options.since);
  return request;
}

Result<v1::ChangesRequest> ToChanges(const Selection& what) {
  return Selecting<v1::ChangesRequest>(what);
}

Entry FromWire(v1::Entry& entry) {
  return {entry.type(), std::move(*entry.mutable_key()), std::move(*entry.mutable_value()),
          std::move(*entry.mutable_version()), std::chrono::milliseconds(entry.ttl_ms())};
}

std::optional<WatchEvent> FromWire(v1::WatchEvent& event) {
  WatchEvent::Kind kind;
  switch (event.kind()) {
    case v1::WatchEvent::KIND_PUT:
      kind = WatchEvent::Kind::kPut;
      break;
    case v1::WatchEvent::KIND_DELETE:
      kind = event.reason() == v1::WatchEvent::REASON_EXPIRED ? WatchEvent::Kind::kExpired
                                                              : WatchEvent::Kind::kDeleted;
      break;
    case v1::WatchEvent::KIND_SYNCED:
      kind = WatchEvent::Kind::kSynced;
      break;
    case v1::WatchEvent::KIND_BOOKMARK:
      kind = WatchEvent::Kind::kBookmark;
      break;
    case v1::WatchEvent::KIND_RESET:
      kind = WatchEvent::Kind::kReset;
      break;
    default:
      return std::nullopt;
  }
  return WatchEvent{.kind = kind,
                    .id = std::move(*event.mutable_id()),
                    .entry = FromWire(*event.mutable_entry())};
}

WriteResult FromWire(v1::SetResponse& response) { return ResultOf(response.set(), response); }
WriteResult FromWire(v1::DeleteResponse& response) {
  return ResultOf(response.deleted(), response);
}
WriteResult FromWire(v1::TouchResponse& response) { return ResultOf(response.touched(), response); }

}  // namespace podmirror::client
