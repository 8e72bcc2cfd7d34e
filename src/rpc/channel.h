// How a daemon reaches another one's gRPC port.
// Thread safety: pure function.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace podmirror::rpc {

// A channel for one stream to a peer's target (net/grpc_channel.h).
std::shared_ptr<grpc::Channel> NewChannel(const std::string& target);

}  // namespace podmirror::rpc
