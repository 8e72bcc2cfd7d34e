// How a daemon reaches another one's gRPC port.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/peer.h"
#include "base/status.h"

namespace podmirror::rpc {

// gRPC's name of the peer's address: "ipv4:10.0.0.1:7070", "ipv6:%5B::1%5D:7070". Addresses only:
// names are resolved by discovery. kInvalid when the record's ip is none or its port is 0.
Result<std::string> TargetOf(const PodRecord& peer);

// A connection of its own for one stream: nothing is shared with other channels, so a new stream
// never waits out the back-off of an old one. Connects at the first call.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& target);

// The call fails with DEADLINE_EXCEEDED so long after it was started.
void SetTimeout(grpc::ClientContext& context, std::int64_t timeout_ms);

}  // namespace podmirror::rpc
