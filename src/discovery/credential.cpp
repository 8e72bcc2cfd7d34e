#include "discovery/credential.h"

#include "base/file.h"
#include "trust/certificate.h"

namespace podmirror::discovery {

Result<std::string> ReadCredential(const char* setting, const std::string& file) {
  Result<std::string> content = ReadSmallFile(file);
  if (!content.ok()) return Invalid(std::string(setting) + ": " + content.status().message());
  return content;
}

Result<std::string> ReadCertificates(const char* setting, const std::string& file) {
  if (file.empty()) return std::string();
  Result<std::string> pem = ReadCredential(setting, file);
  if (!pem.ok()) return pem;
  if (const auto chain = trust::CertificateChain::Parse(*pem); !chain.ok()) {
    return Invalid(std::string(setting) + ": " + file + " " + chain.status().message());
  }
  return pem;
}

Result<std::string> ReadPrivateKey(const char* setting, const std::string& file,
                                   const std::string& cert_pem) {
  Result<std::string> pem = ReadCredential(setting, file);
  if (!pem.ok()) return pem;
  const auto chain = trust::CertificateChain::Parse(cert_pem);
  if (!chain.ok()) return chain.status();
  if (const auto key = trust::ReadPrivateKey(*pem, *chain); !key.ok()) {
    return Invalid(std::string(setting) + ": " + file + " " + key.status().message());
  }
  return pem;
}

Result<std::string> ReadSecret(const char* setting, const std::string& file) {
  Result<std::string> secret = ReadCredential(setting, file);
  if (secret.ok()) {
    while (secret->ends_with('\n') || secret->ends_with('\r')) secret->pop_back();
  }
  return secret;
}

}  // namespace podmirror::discovery
