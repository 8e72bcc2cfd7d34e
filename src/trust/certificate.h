// CertificateChain is a certificate with those that lead from it to an authority, as somebody
// presents them. It may be anybody's: Credentials::Verify says whether it is to be believed.
// Thread safety: immutable; copies share the certificates.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "trust/claims.h"
#include "trust/openssl_types.h"

namespace podmirror::trust {

class CertificateChain {
 public:
  // All certificates in `pem`, the holder's own first. Whatever else stands there, a key for
  // example, is passed over. kInvalid when there is none, or one cannot be read.
  static Result<CertificateChain> Parse(std::string_view pem);

  // The certificates as OpenSSL has them; `others` may be null.
  static CertificateChain Of(OpensslCertificate* leaf, const OpensslCertificates* others);

  // The holder's own certificate, and the others. Valid as long as this.
  OpensslCertificate* leaf() const { return certificates_->front().get(); }
  std::vector<OpensslCertificate*> others() const;

  // "CN=podmirror,O=shop", at most 1 KiB; printable.
  std::string subject() const;
  Names names() const;
  WallMs not_before() const;
  WallMs not_after() const;
  // Of each in the chain, for /v1/tls.
  std::vector<CertificateChain> each() const;

 private:
  using Certificate = std::unique_ptr<OpensslCertificate, void (*)(OpensslCertificate*)>;

  explicit CertificateChain(std::vector<Certificate> certificates)
      : certificates_(std::make_shared<std::vector<Certificate>>(std::move(certificates))) {}

  std::shared_ptr<const std::vector<Certificate>> certificates_;  // at least one
};

// The private key in `pem`, whatever else stands there. kInvalid when there is none that can be
// read without a password, or it is not that of the holder of `chain`.
using PrivateKey = std::unique_ptr<OpensslKey, void (*)(OpensslKey*)>;
Result<PrivateKey> ReadPrivateKey(const std::string& pem, const CertificateChain& chain);

// "2026-11-29T10:00:00Z"
std::string ToUtcText(WallMs time);

}  // namespace podmirror::trust
