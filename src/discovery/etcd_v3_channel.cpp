#include "discovery/etcd_v3_channel.h"

#include <absl/strings/match.h>
#include <absl/strings/strip.h>

#include <utility>

#include "discovery/credential.h"
#include "discovery/etcd_options.h"
#include "net/grpc_channel.h"
#include "net/grpc_status.h"

namespace podmirror::discovery {
namespace {

constexpr SteadyMs kConnectTimeoutMs = 5'000;
constexpr SteadyMs kMaxBackoffMs = 500;

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
                                   net::GrpcChannelArguments(kConnectTimeoutMs, kMaxBackoffMs));
}

std::string EndOfPrefix(std::string prefix) {
  ++prefix.back();
  return prefix;
}

Status FromEtcd(const grpc::Status& status) {
  Status told = net::FromGrpc(status);
  if (told.ok()) return told;
  if (told.code() == Code::kDeadline) return {Code::kDeadline, "no answer"};
  const bool compacted = status.error_code() == grpc::StatusCode::OUT_OF_RANGE;
  return {compacted ? Code::kNotFound : told.code(),
          std::string(absl::StripPrefix(told.message(), "etcdserver: "))};
}

bool WantsNewToken(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         absl::StrContains(status.error_message(), "revision of auth store is old") ||
         absl::StrContains(status.error_message(), "user name is empty");
}

}  // namespace podmirror::discovery
