#include "rpc/channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "net/grpc_channel.h"
#include "sync/message.h"

namespace podmirror::rpc {

namespace {

constexpr SteadyMs kConnectTimeoutMs = 2000;
constexpr SteadyMs kMaxBackoffMs = 1000;

}  // namespace

static_assert(sync::kMaxMessageBytes == net::kMaxGrpcMessageBytes);

namespace {

std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& target, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments args = net::GrpcChannelArguments(kConnectTimeoutMs, kMaxBackoffMs);
  // The sync core retries. gRPC's own retries would keep copies of what is being sent.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // gRPC's probe of the bandwidth widens the windows of long transfers, but its timers and pings
  // would cost an idle daemon more than its heartbeats. Our transfers are few large messages, for
  // which the windows widen without it.
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(target, credentials, args);
}

}  // namespace

PeerChannel::PeerChannel(const Way& way, const Env& env)
    : peer_(way.peer),
      channel_(NewChannel(way.target, way.keyring == nullptr
                                          ? grpc::InsecureChannelCredentials()
                                          : NewPeerCredentials(*way.keyring, way.peer, env))) {}

Status PeerChannel::Outcome(const Status& status) const {
  if (status.ok() || peer_ == nullptr) return status;
  return peer_->refusal().value_or(status);
}

}  // namespace podmirror::rpc
