// gRPC as etcd wants it: a channel to one member, and what its errors mean.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "base/status.h"
#include "discovery/peer_source.h"
#include "net/address.h"

namespace podmirror::discovery {

// Connects when it is first used. kInvalid naming the setting when a file cannot be read.
Result<std::shared_ptr<grpc::Channel>> OpenEtcdChannel(const EtcdOptions& options,
                                                       const net::BaseUrl& member);

// The first key after all that begin with `prefix`. Requires: `prefix` ends with '/'.
std::string EndOfPrefix(std::string prefix);

// How a call to etcd ended. OUT_OF_RANGE, history that was compacted, is kNotFound.
Status FromEtcd(const grpc::Status& status);

// Whether the call failed because it needs a new token. etcd marks some such failures by text only.
bool WantsNewToken(const grpc::Status& status);

}  // namespace podmirror::discovery
