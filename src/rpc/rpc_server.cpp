#include "rpc/rpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "sync/message.h"

namespace podmirror::rpc {
namespace {

constexpr int kMaxCallsPerConnection = 1024;
// As the head of a request by HTTP, and so room for a token of 16 KiB.
constexpr int kMaxMetadataBytes = 20 * 1024;
constexpr int kMaxPendingCalls = 64 * kMaxCallsPerConnection;
// How many bytes of messages that are being received all connections together may hold. Beyond it,
// calls are ended with RESOURCE_EXHAUSTED until there is room again.
constexpr std::size_t kMaxReceivedBytes = 2 * sync::kMaxMessageBytes;

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::Start(const std::vector<RpcPort>& ports,
                                                    net::GrpcQueue& queue, net::BulkThread& bulk,
                                                    const trust::Access& access, Callers& callers,
                                                    const std::function<void()>& on_turned_away,
                                                    const std::vector<Service*>& services) {
  // Protobuf would write a line to stderr for each text of a request that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  auto started = std::unique_ptr<RpcServer>(new RpcServer(queue, bulk, access, callers));
  for (Service* service : services) service->AddTo(started->methods_);
  started->health_.AddTo(started->methods_);
  started->reflection_.AddTo(started->methods_);
  grpc::ServerBuilder& builder = queue.builder();
  std::vector<std::unique_ptr<Doorman::Acceptor>> acceptors;  // of the doormen
  for (const RpcPort& port : ports) {
    auto doorman = Doorman::Open(port.listen, callers, on_turned_away);
    if (!doorman.ok()) {
      return Status(doorman.status().code(), port.name + ": " + doorman.status().message());
    }
    started->doormen_.push_back(std::move(*doorman));
    started->credentials_.push_back(port.credentials);
    acceptors.push_back(builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, port.credentials));
  }
  builder.SetMaxReceiveMessageSize(static_cast<int>(sync::kMaxMessageBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // Later versions of gRPC turn calls away at random when a thousand have come at once.
  builder.AddChannelArgument("grpc.server.max_pending_requests", kMaxPendingCalls);
  builder.AddChannelArgument("grpc.server.max_pending_requests_hard_limit", kMaxPendingCalls);
  // As in channel.cpp.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Connections of clients that vanished without a word are given up after a while.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Who connects and then says nothing holds a descriptor, and with TLS some 50 KiB: by default for
  // two minutes.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // Clients ping every 10 s, with and without calls, as gRPC's guides have it. By default pings
  // within 5 minutes would be taken for an attack (too_many_pings), and the connection closed.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  // gRPC unpacks a compressed message before it checks the size, and 1 MiB may become 1 GiB. So a
  // compressed message is refused before that (UNIMPLEMENTED, with the encodings that we accept).
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetResourceQuota(grpc::ResourceQuota().Resize(kMaxReceivedBytes));
  builder.RegisterAsyncGenericService(&started->calls_);
  started->server_ = builder.BuildAndStart();
  if (!started->server_) return Status(Code::kInternal, "gRPC could not be started");
  started->Await();
  for (std::size_t i = 0; i < acceptors.size(); ++i) {
    started->doormen_[i]->Start(std::move(acceptors[i]));
  }
  return started;
}

RpcServer::~RpcServer() = default;

// One call is awaited at a time: the next one as soon as it has come.
void RpcServer::Await() {
  const auto call = std::make_shared<ServerCall>(queue_, count_);
  call->Await(calls_, [this, call](bool ok) {
    if (!ok) return;
    Await();
    Serve(call);
  });
}

void RpcServer::Serve(const std::shared_ptr<ServerCall>& call) {
  const auto method = methods_.find(call->method());
  const bool known = method != methods_.end();
  if (!known || method->second.open == Method::Open::kToKnown) {
    auto asker = callers_.Identify(call->context(), call->method(), access_);
    if (!asker.ok()) {
      call->Finish(asker.status());
      return;
    }
    call->set_asker(std::move(*asker));
  }
  if (known) {
    method->second.handler(call);
  } else {
    call->Finish({Code::kUnimplemented, "no such method"});
  }
}

void RpcServer::SetServing(bool serving) { health_.SetServing(serving); }

void RpcServer::Leave() { health_.Leave(); }

bool RpcServer::Stop(absl::Duration grace) {
  for (const auto& doorman : doormen_) doorman->Stop();
  server_->Shutdown(gpr_time_from_millis(absl::ToInt64Milliseconds(grace), GPR_TIMESPAN));
  server_->Wait();
  return count_.AwaitNone(absl::Milliseconds(kGoneMs));
}

}  // namespace podmirror::rpc
