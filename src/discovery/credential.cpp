#include "discovery/credential.h"

#include <algorithm>
#include <fstream>

#include "net/pem.h"

namespace podmirror::discovery {
namespace {

constexpr std::size_t kMaxCredentialBytes = 1u << 20;

Status Wrong(const char* setting, const std::string& file, const std::string& reason) {
  return Status(Code::kInvalid, std::string(setting) + ": " + file + " " + reason);
}

}  // namespace

Result<std::string> ReadCredential(const char* setting, const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(kMaxCredentialBytes + 1, '\0');
  if (stream) stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
  if (content.empty()) return Wrong(setting, file, "cannot be read or is empty");
  if (content.size() > kMaxCredentialBytes) return Wrong(setting, file, "is longer than 1 MiB");
  return content;
}

Result<std::string> ReadCertificates(const char* setting, const std::string& file) {
  if (file.empty()) return std::string();
  Result<std::string> pem = ReadCredential(setting, file);
  if (!pem.ok()) return pem;
  if (Status status = net::CheckCertificates(*pem); !status.ok()) {
    return Wrong(setting, file, status.message());
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
