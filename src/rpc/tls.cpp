#include "rpc/tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace podmirror::rpc {
namespace {

// gRPC asks for the certificate at each handshake, by a function of its C interface. The classes of
// its C++ interface read files themselves, and would take a certificate without its key.
class KeyringServerCredentials final : public grpc::ServerCredentials {
 public:
  explicit KeyringServerCredentials(const trust::Keyring& keyring) : keyring_(keyring) {}

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    const auto asked = keyring_.current()->authorities()
                           ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY
                           : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
    grpc_server_credentials* const credentials = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(asked, Fetch, this));
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return port;
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto* const credentials = static_cast<KeyringServerCredentials*>(self);
    const auto current = credentials->keyring_.current();
    if (credentials->given_.exchange(current->number()) == current->number()) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    const trust::PemFiles& pem = current->pem();
    const grpc_ssl_pem_key_cert_pair pair = {pem.key.c_str(), pem.cert.c_str()};
    *config = grpc_ssl_server_certificate_config_create(pem.ca.empty() ? nullptr : pem.ca.c_str(),
                                                        &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const trust::Keyring& keyring_;
  std::atomic<std::uint64_t> given_{0};  // Credentials::number
};

std::string_view View(const grpc::string_ref& text) { return {text.data(), text.size()}; }

class PeerVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  PeerVerifier(const trust::Keyring& keyring, std::shared_ptr<DialledPeer> peer, const Env& env)
      : keyring_(keyring), peer_(std::move(peer)), env_(env) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)>, grpc::Status* verdict) override {
    const std::string_view chain = View(request->peer_cert_full_chain());
    const Status status = Judge(chain.empty() ? View(request->peer_cert()) : chain);
    if (!status.ok()) *verdict = {grpc::StatusCode::UNAUTHENTICATED, status.message()};
    return true;
  }

  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  Status Judge(std::string_view pem) {
    auto chain = trust::CertificateChain::Parse(pem);
    if (!chain.ok()) {
      Status status(Code::kRefused, "its certificate " + chain.status().message());
      peer_->Set(nullptr, status);
      return status;
    }
    auto current = keyring_.current();
    const auto presented = std::make_shared<const trust::Presented>(
        std::move(*chain), trust::Credentials::Use::kServer, *current, env_.now().wall);
    for (;;) {
      Status status = presented->CheckPeer(*current);
      peer_->Set(presented, status);
      // Whoever looks at all peers because our credentials have changed looks at what is set.
      const std::uint64_t checked_with = current->number();
      current = keyring_.current();
      if (current->number() == checked_with) return status;
    }
  }

  const trust::Keyring& keyring_;
  const std::shared_ptr<DialledPeer> peer_;
  const Env& env_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> NewServerCredentials(const trust::Keyring& keyring) {
  return std::make_shared<KeyringServerCredentials>(keyring);
}

std::shared_ptr<const trust::Presented> DialledPeer::presented() const {
  absl::MutexLock lock(&mu_);
  return presented_;
}

std::optional<Status> DialledPeer::refusal() const {
  absl::MutexLock lock(&mu_);
  return refusal_;
}

void DialledPeer::Set(std::shared_ptr<const trust::Presented> presented, Status verdict) {
  absl::MutexLock lock(&mu_);
  if (verdict.ok()) {
    presented_ = std::move(presented);
    refusal_.reset();
  } else {
    refusal_ = std::move(verdict);
  }
}

std::shared_ptr<grpc::ChannelCredentials> NewPeerCredentials(const trust::Keyring& keyring,
                                                             std::shared_ptr<DialledPeer> peer,
                                                             const Env& env) {
  namespace tls = grpc::experimental;
  const auto current = keyring.current();
  const trust::PemFiles& pem = current->pem();
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<tls::StaticDataCertificateProvider>(
      pem.ca, std::vector<tls::IdentityKeyCertPair>{{pem.key, pem.cert}}));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  // The verifier does all of it, with a reason for people: chain, dates, use, names.
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<PeerVerifier>(keyring, std::move(peer), env));
  return tls::TlsCredentials(options);
}

}  // namespace podmirror::rpc
