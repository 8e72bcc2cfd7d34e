#include "discovery/etcd_options.h"

#include <algorithm>
#include <utility>

#include "discovery/credential.h"

namespace podmirror::discovery {
namespace {

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

}  // namespace

Result<CheckedEtcdOptions> CheckEtcdOptions(EtcdOptions options, const std::string& ns, Env& env) {
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
  // Random order: the daemons of a fleet should not all use the first member.
  for (std::size_t i = checked.endpoints.size() - 1; i > 0; --i) {
    std::swap(checked.endpoints[i], checked.endpoints[env.Random() % (i + 1)]);
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
  Result<std::string> key = ReadPrivateKey("etcd-key", options.key_file, tls.cert);
  if (!key.ok()) return key.status();
  tls.key = std::move(*key);
  return tls;
}

Result<std::string> ReadPassword(const EtcdOptions& options) {
  return ReadSecret("etcd-password-file", options.password_file);
}

std::string RefusedByTls(const EtcdOptions& options) {
  return options.cert_file.empty()
             ? "TLS: refused without a client certificate (etcd-cert, etcd-key)"
             : "TLS: our client certificate is refused (etcd-cert)";
}

}  // namespace podmirror::discovery
