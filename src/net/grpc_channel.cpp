#include "net/grpc_channel.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>

#include <optional>

#include "net/address.h"

namespace podmirror::net {

Result<std::string> GrpcTargetOf(const PodRecord& peer) {
  const std::string port = ":" + std::to_string(peer.port);
  const std::optional<std::string> ip = CanonicalIp(peer.ip);
  if (!ip || peer.port == 0) {
    return Status(Code::kInvalid, "not an address: \"" + peer.ip + port + "\"");
  }
  if (ip->find(':') == ip->npos) return "ipv4:" + *ip + port;
  return "ipv6:%5B" + *ip + "%5D" + port;
}

grpc::ChannelArguments GrpcChannelArguments(SteadyMs connect_timeout_ms, SteadyMs max_backoff_ms) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(kMaxGrpcMessageBytes));
  // No compression: gRPC unpacks a compressed message before it checks the size.
  args.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(max_backoff_ms));
  // In spite of its name this is how long one attempt to connect may take.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(connect_timeout_ms));
  return args;
}

void SetTimeout(grpc::ClientContext& context, SteadyMs timeout_ms) {
  context.set_deadline(gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

}  // namespace podmirror::net
