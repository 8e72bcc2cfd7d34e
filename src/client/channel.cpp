#include "client/channel.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "net/address.h"

namespace podmirror::client {

Result<std::string> TargetOf(const PodRecord& peer) {
  const std::string port = ":" + std::to_string(peer.port);
  const auto ip = net::CanonicalIp(peer.ip);
  if (!ip || peer.port == 0) return Status(Code::kInvalid, "not an address: " + peer.ip + port);
  if (ip->find(':') == ip->npos) return "ipv4:" + *ip + port;
  return "ipv6:%5B" + *ip + "%5D" + port;
}

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(kMaxMessageBytes));
  // A channel that takes the place of another one must not inherit its stuck connection.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // gRPC's own retries stay on: without a policy they are only those of calls that certainly came
  // to no server, such as one that met the GOAWAY of a daemon which closes its ports.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // In spite of its name this is how long one attempt to connect may take.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

void SetTimeout(grpc::ClientContext& context, std::int64_t timeout_ms) {
  context.set_deadline(gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}
}  // namespace podmirror::client
