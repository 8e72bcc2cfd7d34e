#include "rpc/rpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
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

std::string JoinHostPort(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd);
  return fd >= 0 || errno != EAFNOSUPPORT;
}

// Tries the port with a socket of our own, which tells why the port cannot be had. gRPC only says
// that it could not listen; and when the port is taken for IPv6 only, it listens on IPv4 alone.
Status TryToListen(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  if (const int error = getaddrinfo(host.c_str(), service.c_str(), &hints, &found); error != 0) {
    return {Code::kUnavailable, gai_strerror(error)};
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  const int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  const bool free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                    bind(fd, addresses->ai_addr, addresses->ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (free) return {};
  return {Code::kUnavailable, std::strerror(error)};
}

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::Start(const std::vector<RpcPort>& ports,
                                                    net::GrpcQueue& queue, BulkThread& bulk,
                                                    Access& access,
                                                    const std::vector<Service*>& services) {
  // Protobuf would write a line to stderr for each text of a request that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  auto started = std::unique_ptr<RpcServer>(new RpcServer(queue, bulk, access));
  for (Service* service : services) service->AddTo(started->methods_);
  started->health_.AddTo(started->methods_);
  started->reflection_.AddTo(started->methods_);
  grpc::ServerBuilder& builder = queue.builder();
  started->bound_.resize(ports.size());
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const RpcPort& port = ports[i];
    const std::string local = port.host == "::" && !HasIpv6() ? "0.0.0.0" : port.host;
    const std::string address = JoinHostPort(local, port.port);
    if (const Status status = TryToListen(local, port.port); !status.ok()) {
      return Status(status.code(),
                    port.name + ": cannot listen on " + address + ": " + status.message());
    }
    builder.AddListeningPort(address, port.credentials, &started->bound_[i]);
    started->credentials_.push_back(port.credentials);
  }
  builder.SetMaxReceiveMessageSize(static_cast<int>(sync::kMaxMessageBytes));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
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
  const auto failed = std::find_if(started->bound_.begin(), started->bound_.end(),
                                   [](int bound) { return bound <= 0; });
  if (!started->server_ || failed != started->bound_.end()) {
    const auto place = failed == started->bound_.end() ? 0 : failed - started->bound_.begin();
    return Status(Code::kUnavailable,
                  ports[static_cast<std::size_t>(place)].name + ": cannot listen");
  }
  started->Await();
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
    Result<AskerRef> asker = access_.Identify(call->context(), call->method());
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
  server_->Shutdown(gpr_time_from_millis(absl::ToInt64Milliseconds(grace), GPR_TIMESPAN));
  server_->Wait();
  return count_.AwaitNone(absl::Milliseconds(kGoneMs));
}

}  // namespace podmirror::rpc
