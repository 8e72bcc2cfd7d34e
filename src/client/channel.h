// How the client reaches a daemon's gRPC port.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstddef>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"

namespace podmirror::client {

// One message of the protocol at most, the same on all sides.
inline constexpr std::size_t kMaxMessageBytes = 64 * 1024 * 1024;

// gRPC's name of the address: "ipv4:10.0.0.1:7070", "ipv6:%5B::1%5D:7070". kInvalid when the
// record's ip is none or its port is 0.
Result<std::string> TargetOf(const PodRecord& peer);

// A connection of its own; connects at the first call, and again by itself.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& target);

// The call fails with DEADLINE_EXCEEDED so long after it was started.
void SetTimeout(grpc::ClientContext& context, std::int64_t timeout_ms);
}  // namespace podmirror::client
