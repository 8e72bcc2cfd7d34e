// How the client reaches a daemon's gRPC port.
// Thread safety: pure function.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "client/credentials.h"

namespace podmirror::client {

// A channel to a daemon's target (net/grpc_channel.h). With files it speaks TLS: it shows their
// certificate, and sends nothing to who has no certificate of one of their authorities with a name
// that the credentials expect. When it has lost its connection, it makes no new one with files that
// have been replaced since: its calls then fail as if the daemon could not be reached.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& target,
                                          const std::shared_ptr<Credentials>& credentials,
                                          const std::shared_ptr<const Credentials::TlsFiles>& tls);

}  // namespace podmirror::client
