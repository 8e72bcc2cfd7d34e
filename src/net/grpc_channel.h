// What all gRPC channels have in common: those to peers, to daemons (the client library) and to
// etcd's members.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstddef>
#include <string>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"

namespace podmirror::net {

// The longest message that a channel takes.
inline constexpr std::size_t kMaxGrpcMessageBytes = 64 * 1024 * 1024;

// The peer's address as gRPC writes it: "ipv4:10.0.0.1:7070", "ipv6:%5B::1%5D:7070". Never a DNS
// name: discovery resolves those. kInvalid when the record's ip is no address or its port is 0.
Result<std::string> GrpcTargetOf(const PodRecord& peer);

// A channel with these arguments has a connection of its own. It connects at the first call, and
// again after the connection was lost. So a new channel never waits out the back-off of an old one,
// and never takes over an old one's stuck connection. One attempt to connect may take
// `connect_timeout_ms`; the wait before the next one is 100 ms at first, later `max_backoff_ms`.
grpc::ChannelArguments GrpcChannelArguments(SteadyMs connect_timeout_ms, SteadyMs max_backoff_ms);

// The call fails with DEADLINE_EXCEEDED when it has not ended `timeout_ms` from now.
void SetTimeout(grpc::ClientContext& context, SteadyMs timeout_ms);

}  // namespace podmirror::net
