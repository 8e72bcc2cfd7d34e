// The client's types as messages of podmirror.v1.Cache and Follow, and back.
// Thread safety: pure functions.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/entry.h"
#include "podmirror/v1/cache.pb.h"
#include "podmirror/v1/follow.pb.h"

namespace podmirror::client {

// kInvalid names the first thing that cannot be sent: a key or prefix that protobuf would not
// carry, or a request over 64 MiB. The daemons check the rest.
Result<v1::GetRequest> ToWire(const std::vector<Key>& keys);
Result<v1::SetRequest> ToWire(const std::vector<Item>& items, const WriteOptions& options);
Result<v1::DeleteRequest> ToWire(const std::vector<Key>& keys, const WriteOptions& options);
Result<v1::TouchRequest> ToWire(const std::vector<Key>& keys, std::chrono::milliseconds ttl,
                                const WriteOptions& options);
Result<v1::DeletePrefixRequest> ToWire(std::int32_t type, const std::string& prefix,
                                       const WriteOptions& options);
Result<v1::GetAllRequest> ToWire(const Selection& what);
Result<v1::WatchRequest> ToWire(const WatchOptions& options);
Result<v1::ChangesRequest> ToChanges(const Selection& what);

// They move the texts out of the message.
Entry FromWire(v1::Entry& entry);
// Nothing for what a later daemon tells that is not known here.
std::optional<WatchEvent> FromWire(v1::WatchEvent& event);
WriteResult FromWire(v1::SetResponse& response);
WriteResult FromWire(v1::DeleteResponse& response);
WriteResult FromWire(v1::TouchResponse& response);

}  // namespace podmirror::client
