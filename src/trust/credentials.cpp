#include "trust/credentials.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <utility>

namespace podmirror::trust {
namespace {

// The names of `own` that can be a pattern: not an IP address that somebody wrote as a DNS name.
std::vector<NamePattern> PatternsOf(const CertificateChain& own) {
  std::vector<NamePattern> patterns;
  const Names names = own.names();
  for (const auto* list : {&names.uris, &names.dns}) {
    for (const std::string& name : *list) {
      if (auto pattern = NamePattern::Parse(name); pattern.ok()) {
        patterns.push_back(std::move(*pattern));
      }
    }
  }
  return patterns;
}

Status CheckDates(const CertificateChain& own, WallMs now) {
  if (now < own.not_before()) {
    return Invalid("tls-cert: is valid only from " + ToUtcText(own.not_before()) + " on");
  }
  if (now > own.not_after()) return Invalid("tls-cert: expired " + ToUtcText(own.not_after()));
  return {};
}

constexpr unsigned char kHttp[] = "\x08http/1.1";

// HTTP/1.1 or nothing: a client that speaks only something else ends the handshake with an alert.
int SelectHttp(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
               unsigned int in_size, void*) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, kHttp, sizeof(kHttp) - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Each certificate of a client takes some KB as long as its connection lives, believed or not.
constexpr int kMaxClientChain = 10;
constexpr long kMaxClientChainBytes = 16 * 1024;

// Whom we believe is asked later.
int TakeAny(X509_STORE_CTX* presented, void* /*unused*/) {
  if (sk_X509_num(X509_STORE_CTX_get0_untrusted(presented)) <= kMaxClientChain) return 1;
  X509_STORE_CTX_set_error(presented, X509_V_ERR_CERT_CHAIN_TOO_LONG);
  return 0;
}

// As OpenSSL's level 2: keys of 112 bits of security at least, so RSA from 2048 on, and no SHA-1.
constexpr int kSecurityLevel = 2;

std::string Why(X509_STORE_CTX* context, const CertificateChain& chain) {
  const int error = X509_STORE_CTX_get_error(context);
  const std::string which = X509_STORE_CTX_get_error_depth(context) == 0 ? "it " : "its signer ";
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return which == "it " ? "it expired " + ToUtcText(chain.not_after()) : "its signer expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return which == "it " ? "it is valid only from " + ToUtcText(chain.not_before()) + " on"
                            : "its signer is not valid yet";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return "it is signed by itself";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "no authority in tls-ca has signed it";
    case X509_V_ERR_INVALID_PURPOSE:
      return which + "was issued for another use";
    default:
      return which + "is not valid: " + X509_verify_cert_error_string(error);
  }
}

}  // namespace

Credentials::Credentials(PemFiles pem, CertificateChain own,
                         std::optional<CertificateChain> authorities,
                         std::vector<NamePattern> peers, std::uint64_t number)
    : pem_(std::move(pem)),
      own_(std::move(own)),
      authorities_(std::move(authorities)),
      peers_(std::move(peers)),
      number_(number),
      store_(X509_STORE_new(), X509_STORE_free),
      http_server_(nullptr, SSL_CTX_free) {
  // Whoever stands in tls-ca is believed, an intermediate authority too.
  X509_STORE_set_flags(store_.get(), X509_V_FLAG_PARTIAL_CHAIN);
  if (!authorities_) return;
  X509_STORE_add_cert(store_.get(), authorities_->leaf());
  for (X509* other : authorities_->others()) X509_STORE_add_cert(store_.get(), other);
}

Result<std::shared_ptr<const Credentials>> Credentials::Check(PemFiles pem,
                                                              std::vector<NamePattern> peers,
                                                              std::uint64_t number, WallMs now) {
  auto own = CertificateChain::Parse(pem.cert);
  if (!own.ok()) return Invalid("tls-cert: " + own.status().message());
  const auto key = ReadPrivateKey(pem.key, *own);
  if (!key.ok()) return Invalid("tls-key: " + key.status().message());
  if (Status status = CheckDates(*own, now); !status.ok()) return status;
  std::optional<CertificateChain> authorities;
  if (!pem.ca.empty()) {
    auto parsed = CertificateChain::Parse(pem.ca);
    if (!parsed.ok()) return Invalid("tls-ca: " + parsed.status().message());
    authorities = std::move(*parsed);
  }
  if (peers.empty()) peers = PatternsOf(*own);
  std::shared_ptr<Credentials> checked(new Credentials(
      std::move(pem), std::move(*own), std::move(authorities), std::move(peers), number));
  if (Status status = checked->MakeContext(**key); !status.ok()) return status;
  return std::shared_ptr<const Credentials>(std::move(checked));
}

Status Credentials::MakeContext(OpensslKey& key) {
  http_server_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const context = http_server_.get();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // With forward secrecy and authenticated encryption, as TLS 1.3 has it, in the order that gRPC
  // has.
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_ciphersuites(context,
                           "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                           "TLS_CHACHA20_POLY1305_SHA256");
  // A resumed session would skip the client's certificate, and renegotiation is a way to burn time.
  // An end without a word cuts off nothing: HTTP tells the length of all that it sends.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_alpn_select_cb(context, SelectHttp, nullptr);
  bool taken = SSL_CTX_use_certificate(context, own_.leaf()) == 1;
  for (X509* other : own_.others()) taken = taken && SSL_CTX_add1_chain_cert(context, other) == 1;
  taken = taken && SSL_CTX_use_PrivateKey(context, &key) == 1;
  if (authorities_) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(context, TakeAny, nullptr);
    SSL_CTX_set_max_cert_list(context, kMaxClientChainBytes);
    // Clients with many certificates choose by these.
    SSL_CTX_add_client_CA(context, authorities_->leaf());
    for (X509* other : authorities_->others()) SSL_CTX_add_client_CA(context, other);
  }
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  std::string text = reason == nullptr ? "cannot be used" : reason;
  ERR_clear_error();
  if (!taken) return Invalid("tls-cert: " + text);
  return {};
}

Status Credentials::Verify(const CertificateChain& chain, Use use,
                           std::optional<WallMs> now) const {
  if (!authorities_) return {Code::kRefused, "there is no tls-ca that could have signed it"};
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(
      X509_STORE_CTX_new(), X509_STORE_CTX_free);
  const std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> others(
      sk_X509_new_null(), [](STACK_OF(X509) * stack) { sk_X509_free(stack); });
  for (X509* other : chain.others()) sk_X509_push(others.get(), other);
  X509_STORE_CTX_init(context.get(), store_.get(), chain.leaf(), others.get());
  X509_STORE_CTX_set_default(context.get(), use == Use::kClient ? "ssl_client" : "ssl_server");
  X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(context.get()), kSecurityLevel);
  if (now) {
    X509_STORE_CTX_set_time(context.get(), 0, static_cast<std::time_t>(*now / 1000));
  } else {
    X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_NO_CHECK_TIME);
  }
  const bool valid = X509_verify_cert(context.get()) == 1;
  ERR_clear_error();
  if (valid) return {};
  return {Code::kRefused, Why(context.get(), chain)};
}

}  // namespace podmirror::trust
