#include "discovery/etcd_options.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/env.h"

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
        std::pair("etcd-key", &options.key_file),
        std::pair("etcd-password-file", &options.password_file)}) {
    if (file->empty()) continue;
    if (!any_https && file != &options.password_file) {
      return Invalid(std::string(setting) + ": no use while no etcd-endpoints are https://");
    }
    if (Result<std::string> read = ReadCredential(setting, *file); !read.ok()) {
      return read.status();
    }
  }
  return Status();
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

Result<std::string> ReadCredential(const char* setting, const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(kMaxCredentialBytes + 1, '\0');
  if (stream) stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
  if (content.empty()) {
    return Invalid(std::string(setting) + ": " + file + " cannot be read or is empty");
  }
  if (content.size() > kMaxCredentialBytes) {
    return Invalid(std::string(setting) + ": " + file + " is longer than 1 MiB");
  }
  return content;
}

Result<std::string> ReadPassword(const EtcdOptions& options) {
  Result<std::string> password = ReadCredential("etcd-password-file", options.password_file);
  if (password.ok()) {
    while (password->ends_with('\n') || password->ends_with('\r')) password->pop_back();
  }
  return password;
}

}  // namespace podmirror::discovery
