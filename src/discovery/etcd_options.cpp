#include "discovery/etcd_options.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/env.h"
#include "net/pem.h"

namespace podmirror::discovery {
namespace {

constexpr std::size_t kMaxCredentialBytes = 1u << 20;

Status Invalid(std::string message) { return Status(Code::kInvalid, std::move(message)); }

Status CheckCredentials(const EtcdOptions& options, bool any_https) {
  if (options.user.empty() != options.password_file.empty()) {
    return Invalid(options.user.empty() ? "etcd-user: needed beside etcd-password-file"
                                        : "etcd-password-file: needed beside etcd-user");
  }
  if (options.cert_file.empty() != options.key_file.empty()) {
    return Invalid(options.cert_file.empty() ? "etcd-cert: needed beside etcd-key"
                                             : "etcd-key: needed beside etcd-cert");
  }
  for (const auto& [setting, file] :
       {std::pair("etcd-ca", &options.ca_file), std::pair("etcd-cert", &options.cert_file),
        std::pair("etcd-key", &options.key_file)}) {
    if (!file->empty() && !any_https) {
      return Invalid(std::string(setting) + ": no use while no etcd-endpoints are https://");
    }
  }
  if (Result<EtcdTls> tls = ReadTls(options); !tls.ok()) return tls.status();
  if (options.user.empty()) return Status();
  return ReadPassword(options).status();
}

Status Wrong(const char* setting, const std::string& file, const std::string& reason) {
  return Invalid(std::string(setting) + ": " + file + " " + reason);
}

// A file of credentials, whole.
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

}  // namespace

Result<CheckedEtcdOptions> CheckEtcdOptions(EtcdOptions options, const std::string& ns) {
  CheckedEtcdOptions checked;
  bool any_https = false;
  for (const std::string& endpoint : options.endpoints) {
    Result<net::BaseUrl> url = net::ParseBaseUrl(endpoint);
    if (!url.ok()) return Invalid("etcd-endpoints: " + url.status().message());
    any_https = any_https || url->https;
    checked.endpoints.push_back(std::move(*url));
  }
  if (checked.endpoints.empty()) return Invalid("etcd-endpoints: empty");
  if (Status status = CheckCredentials(options, any_https); !status.ok()) return status;
  // Not every daemon of a fleet should hang on the first member.
  for (std::size_t i = checked.endpoints.size() - 1; i > 0; --i) {
    std::swap(checked.endpoints[i], checked.endpoints[Env::Real().Random() % (i + 1)]);
  }
  std::string prefix = options.prefix;
  while (prefix.ends_with('/')) prefix.pop_back();
  if (!prefix.starts_with('/')) prefix.insert(0, "/");
  if (prefix.size() > 1024 ||
      !std::all_of(prefix.begin(), prefix.end(), [](char c) { return c > ' ' && c <= '~'; })) {
    return Invalid("etcd-prefix: not a key prefix");
  }
  if (prefix == "/") prefix.clear();
  checked.where = prefix + "/pods/" + ns;
  checked.options = std::move(options);
  return checked;
}

Result<EtcdTls> ReadTls(const EtcdOptions& options) {
  Result<std::string> ca = ReadCertificates("etcd-ca", options.ca_file);
  if (!ca.ok()) return ca.status();
  Result<std::string> cert = ReadCertificates("etcd-cert", options.cert_file);
  if (!cert.ok()) return cert.status();
  EtcdTls tls = {.ca = std::move(*ca), .cert = std::move(*cert), .key = ""};
  if (options.key_file.empty()) return tls;
  Result<std::string> key = ReadCredential("etcd-key", options.key_file);
  if (!key.ok()) return key.status();
  if (Status status = net::CheckPrivateKey(tls.cert, *key); !status.ok()) {
    return Wrong("etcd-key", options.key_file, status.message());
  }
  tls.key = std::move(*key);
  return tls;
}

Result<std::string> ReadPassword(const EtcdOptions& options) {
  Result<std::string> password = ReadCredential("etcd-password-file", options.password_file);
  if (password.ok()) {
    while (password->ends_with('\n') || password->ends_with('\r')) password->pop_back();
  }
  return password;
}

std::string RefusedByTls(const EtcdOptions& options) {
  return options.cert_file.empty()
             ? "TLS: refused without a client certificate (etcd-cert, etcd-key)"
             : "TLS: our client certificate is refused (etcd-cert)";
}

}  // namespace podmirror::discovery
