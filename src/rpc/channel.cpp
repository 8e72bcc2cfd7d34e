#include "rpc/channel.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <netinet/in.h>

#include "sync/message.h"

namespace podmirror::rpc {

Result<std::string> TargetOf(const PodRecord& peer) {
  const std::string port = ":" + std::to_string(peer.port);
  in6_addr unused{};
  if (peer.port != 0 && inet_pton(AF_INET, peer.ip.c_str(), &unused) == 1) {
    return "ipv4:" + peer.ip + port;
  }
  if (peer.port != 0 && inet_pton(AF_INET6, peer.ip.c_str(), &unused) == 1) {
    return "ipv6:%5B" + peer.ip + "%5D" + port;
  }
  return Status(Code::kInvalid, "not an address: \"" + peer.ip + port + "\"");
}

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(sync::kMaxMessageBytes));
  // As in rpc_server.cpp: an answer is unpacked before its size is looked at.
  args.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Retries are the sync core's, and gRPC's would keep copies of what is being sent.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // The probe's timers and pings would cost an idle daemon more than its heartbeats. It widens
  // windows for long transfers; ours widen by themselves, for they are few large messages.
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // In spite of its name this is how long one attempt to connect may take.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

void SetTimeout(grpc::ClientContext& context, std::int64_t timeout_ms) {
  context.set_deadline(gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

}  // namespace podmirror::rpc
