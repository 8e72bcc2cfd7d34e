#include "discovery/etcd_v3_channel.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <absl/strings/string_view.h>
#include <absl/strings/strip.h>

#include <tuple>
#include <utility>
#include <vector>

#include "discovery/credential.h"
#include "discovery/etcd_options.h"

namespace podmirror::discovery {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // gRPC unpacks an answer before it looks at its size; etcd compresses none that was not asked
  // for.
  args.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  // A connection attempt may take 5 s; later ones of one channel follow soon.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  return args;
}

}  // namespace

Result<std::shared_ptr<grpc::Channel>> OpenEtcdChannel(const EtcdOptions& options,
                                                       const net::BaseUrl& member) {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (member.https) {
    Result<EtcdTls> tls = ReadTls(options);
    if (!tls.ok()) return tls.status();
    credentials = grpc::SslCredentials({.pem_root_certs = std::move(tls->ca),
                                        .pem_private_key = std::move(tls->key),
                                        .pem_cert_chain = std::move(tls->cert)});
  }
  return grpc::CreateCustomChannel("dns:///" + member.host_port.ToString(), credentials,
                                   ChannelArguments());
}

std::string EndOfPrefix(std::string prefix) {
  ++prefix.back();
  return prefix;
}

std::string ShortenEtcdError(const std::string& message) {
  absl::string_view text = message;
  // "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:2379: Failed to ...".
  constexpr absl::string_view kLast = "last error: ";
  if (const std::size_t at = text.find(kLast); at != text.npos) {
    const std::vector<absl::string_view> parts =
        absl::StrSplit(text.substr(at + kLast.size()), absl::MaxSplits(": ", 2));
    text = parts.back();
    absl::ConsumePrefix(&text, "Failed to connect to remote host: ");
  }
  absl::ConsumePrefix(&text, "etcdserver: ");
  // "Ssl handshake failed: SSL_ERROR_SSL: error:0A000086:SSL routines::certificate verify failed".
  constexpr absl::string_view kReason = "SSL routines::";
  if (const std::size_t at = text.find(kReason); at != text.npos) {
    return "TLS: " + std::string(text.substr(at + kReason.size()));
  }
  std::string shortened(text);
  if (!shortened.empty()) shortened[0] = absl::ascii_tolower(shortened[0]);
  return shortened;
}

Status FromGrpc(const grpc::Status& status) {
  const std::string message = ShortenEtcdError(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Status();
    case grpc::StatusCode::UNAVAILABLE:
      return Status(Code::kUnavailable, message);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Status(Code::kDeadline, "no answer");
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Status(Code::kExhausted, message);
    case grpc::StatusCode::OUT_OF_RANGE:
      return Status(Code::kNotFound, message);
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Status(Code::kInvalid, message);
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return Status(Code::kRefused, message);
    case grpc::StatusCode::UNIMPLEMENTED:
      return Status(Code::kUnimplemented, message);
    default:
      return Status(Code::kInternal, message);
  }
}

bool WantsNewToken(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         absl::StrContains(status.error_message(), "revision of auth store is old") ||
         absl::StrContains(status.error_message(), "user name is empty");
}

}  // namespace podmirror::discovery
