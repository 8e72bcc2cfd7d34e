#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "net/grpc_channel.h"

namespace podmirror::client {

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target) {
  // gRPC's own retries stay on: without a policy they are only those of calls that certainly came
  // to no server, such as one that met the GOAWAY of a daemon which closes its ports.
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   net::GrpcChannelArguments(1000, 500));
}

}  // namespace podmirror::client
