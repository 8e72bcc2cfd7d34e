// Daemons with TLS, and clients that know what they must be.
// Thread safety: one test thread.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <vector>

#include "integration/client/client_testing.h"
#include "unit/client/certificates.h"

namespace podmirror::client {

inline constexpr char kDaemonName[] = "a.daemons.test";
inline constexpr char kClientName[] = "spiffe://c/client";

// What a daemon with this certificate listens with. With `clients` it wants a certificate of that
// authority.
inline FakeCache::ServerCredentials Serving(const Leaf& leaf, const Authority* clients = nullptr) {
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({leaf.key, leaf.cert});
  if (clients != nullptr) {
    options.pem_root_certs = clients->pem();
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(options);
}

struct TlsFixture {
  Options WithTls(std::vector<std::string> names = {"*.daemons.test"}) {
    Options options;
    options.deadline = milliseconds(3000);
    options.tls = Tls{.ca = files.Write("ca", authority.pem()), .names = std::move(names)};
    return options;
  }
  Options WithCertificate(const Leaf& leaf) {
    Options options = WithTls();
    options.tls->cert = files.Write("cert", leaf.cert);
    options.tls->key = files.Write("key", leaf.key);
    return options;
  }
  Options WithToken(const std::string& token) {
    Options options = WithTls();
    options.token_file = files.Write("token", token + "\n");
    return options;
  }
  Leaf Daemon() const { return authority.Issue({.dns = {kDaemonName}}); }
  Leaf NewClient(const std::string& uri = kClientName) const {
    return authority.Issue({.uris = {uri}});
  }

  TestFiles files;
  Authority authority;
};

}  // namespace podmirror::client
