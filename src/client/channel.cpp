#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

constexpr SteadyMs kConnectTimeoutMs = 1000;
constexpr SteadyMs kMaxBackoffMs = 500;

}  // namespace

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target) {
  // gRPC's own retries stay on. Without a retry policy gRPC sends only those calls again that
  // certainly reached no server: for example a call that met the GOAWAY of a daemon which closes
  // its ports.
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                   net::GrpcChannelArguments(kConnectTimeoutMs, kMaxBackoffMs));
}

}  // namespace podmirror::client
