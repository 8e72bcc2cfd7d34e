#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <functional>
#include <utility>
#include <vector>

#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

namespace tls_api = grpc::experimental;

using TlsFiles = std::shared_ptr<const Credentials::TlsFiles>;

constexpr SteadyMs kConnectTimeoutMs = 1000;
constexpr SteadyMs kMaxBackoffMs = 500;

// Asked at each handshake whose certificate gRPC has found to be good, before anything is sent.
class Verifier final : public tls_api::ExternalCertificateVerifier {
 public:
  Verifier(std::shared_ptr<Credentials> credentials, TlsFiles tls)
      : credentials_(std::move(credentials)), tls_(std::move(tls)) {}

  bool Verify(tls_api::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> /*callback*/, grpc::Status* sync_status) override {
    const grpc::string_ref certificate = request->peer_cert();
    Status status = credentials_->names().Check({certificate.data(), certificate.size()});
    if (status.ok() && !credentials_->IsCurrent(tls_)) {
      status = {Code::kUnavailable, "files have changed"};
    }
    if (!status.ok()) *sync_status = {grpc::StatusCode::UNAUTHENTICATED, status.message()};
    return true;  // done
  }
  void Cancel(tls_api::TlsCustomVerificationCheckRequest* /*request*/) override {}

 private:
  const std::shared_ptr<Credentials> credentials_;
  const TlsFiles tls_;
};

std::shared_ptr<grpc::ChannelCredentials> NewTls(const std::shared_ptr<Credentials>& credentials,
                                                 const TlsFiles& tls) {
  tls_api::TlsChannelCredentialsOptions options;
  std::vector<tls_api::IdentityKeyCertPair> pairs;
  if (!tls->cert.empty()) pairs.push_back({tls->key, tls->cert});
  if (!tls->ca.empty() || !pairs.empty()) {
    options.set_certificate_provider(
        std::make_shared<tls_api::StaticDataCertificateProvider>(tls->ca, pairs));
  }
  if (!tls->ca.empty()) options.watch_root_certs();  // else the system's
  if (!pairs.empty()) options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_certificate_verifier(
      tls_api::ExternalCertificateVerifier::Create<Verifier>(credentials, tls));
  // It would compare the certificate with the address that was dialled.
  options.set_check_call_host(false);
  return tls_api::TlsCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target,
                                          const std::shared_ptr<Credentials>& credentials,
                                          const TlsFiles& tls) {
  // gRPC's own retries stay on. Without a retry policy gRPC sends only those calls again that
  // certainly reached no server: for example a call that met the GOAWAY of a daemon which closes
  // its ports.
  grpc::ChannelArguments args = net::GrpcChannelArguments(kConnectTimeoutMs, kMaxBackoffMs);
  if (!tls) return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
  // Else gRPC asks for the address, as if it were a name.
  const std::string name = credentials->names().ServerName();
  if (!name.empty()) args.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel(target, NewTls(credentials, tls), args);
}

}  // namespace podmirror::client
