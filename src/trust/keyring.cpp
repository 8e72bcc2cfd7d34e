#include "trust/keyring.h"

#include <utility>

#include "base/file.h"

namespace podmirror::trust {
namespace {

Result<PemFiles> Read(const PemFiles& files) {
  PemFiles pem;
  const auto read = [](const char* setting, const std::string& file, std::string& to) -> Status {
    Result<std::string> content = ReadSmallFile(file);
    if (!content.ok()) return Invalid(std::string(setting) + ": " + content.status().message());
    to = std::move(*content);
    return {};
  };
  Status status = read("tls-cert", files.cert, pem.cert);
  if (status.ok()) status = read("tls-key", files.key, pem.key);
  if (status.ok() && !files.ca.empty()) status = read("tls-ca", files.ca, pem.ca);
  if (!status.ok()) return status;
  return pem;
}

}  // namespace

Keyring::Keyring(PemFiles files, std::vector<NamePattern> peers, const Env& env)
    : files_(std::move(files)), peers_(std::move(peers)), env_(env) {}

Result<std::unique_ptr<Keyring>> Keyring::New(PemFiles files, std::vector<NamePattern> peers,
                                              const Env& env) {
  std::unique_ptr<Keyring> keyring(new Keyring(std::move(files), std::move(peers), env));
  if (keyring->Look() == Looked::kRefused) return Invalid(keyring->state().error);
  return keyring;
}

std::shared_ptr<const Credentials> Keyring::current() const {
  absl::MutexLock lock(&mu_);
  return current_;
}

Keyring::State Keyring::state() const {
  absl::MutexLock lock(&mu_);
  return state_;
}

Looked Keyring::Look() {
  Result<PemFiles> pem = Read(files_);
  const WallMs now = env_.now().wall;
  const std::shared_ptr<const Credentials> before = current();
  if (pem.ok() && before && before->pem() == *pem) {
    refused_ = {};
    absl::MutexLock lock(&mu_);
    state_.error.clear();
    return Looked::kUnchanged;
  }
  Result<std::shared_ptr<const Credentials>> checked =
      pem.ok() ? Credentials::Check(*pem, peers_, number_ + 1, now)
               : Result<std::shared_ptr<const Credentials>>(pem.status());
  absl::MutexLock lock(&mu_);
  if (checked.ok()) {
    ++number_;
    refused_ = {};
    current_ = std::move(*checked);
    state_ = {now, {}};
    return Looked::kTaken;
  }
  const PemFiles content = pem.ok() ? std::move(*pem) : PemFiles();
  const bool still = !state_.error.empty() && content == refused_;
  refused_ = content;
  state_.error = checked.status().message();
  return still ? Looked::kStill : Looked::kRefused;
}

}  // namespace podmirror::trust
