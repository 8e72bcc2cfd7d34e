// How the client reaches a daemon's gRPC port.
// Thread safety: pure function.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace podmirror::client {

// A channel to a daemon's target (net/grpc_channel.h).
std::shared_ptr<grpc::Channel> NewChannel(const std::string& target);

}  // namespace podmirror::client
