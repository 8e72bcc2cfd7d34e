#include "app/trust_parts.h"

#include <string>
#include <utility>
#include <vector>

#include "app/jwks_url.h"
#include "base/file.h"

namespace podmirror::app {
namespace {

trust::Audit::Level LevelOf(const settings::Settings& s) {
  using enum trust::Audit::Level;
  return s.audit == "all"      ? kAll
         : s.audit == "writes" ? kWrites
         : s.audit == "denied" ? kDenied
                               : kOff;
}

trust::Audit::Sink SinkTo(Log& log) {
  return [&log](const trust::AuditRecord& record) {
    std::vector<LogField> fields = {{"subject", std::string(record.subject)},
                                    {"method", std::string(record.method)},
                                    {"ip", std::string(record.ip)}};
    if (record.action) fields.emplace_back("action", std::string(trust::ToString(*record.action)));
    if (record.type) fields.emplace_back("type", static_cast<std::int64_t>(*record.type));
    if (!record.key.empty()) fields.emplace_back("key", std::string(record.key));
    if (!record.version.empty()) fields.emplace_back("version", std::string(record.version));
    fields.emplace_back("result", std::string(record.result));
    log.Always("audit", "a request", fields);
  };
}

}  // namespace

TrustParts::TrustParts(const settings::Settings& settings, Log& log, telemetry::Metrics& metrics)
    : log_(log), metrics_(metrics), audit_(LevelOf(settings), SinkTo(log)) {}

Result<std::unique_ptr<TrustParts>> TrustParts::New(const settings::Settings& settings, Log& log,
                                                    telemetry::Metrics& metrics, Env& env,
                                                    std::function<void()> wake) {
  std::unique_ptr<TrustParts> parts(new TrustParts(settings, log, metrics));
  if (Status status = parts->Load(settings, env, std::move(wake)); !status.ok()) return status;
  return parts;
}

Status TrustParts::Load(const settings::Settings& s, Env& env, std::function<void()> wake) {
  if (Status status = LoadKeyring(s, env); !status.ok()) return status;
  if (!s.auth_required) {
    guard_ = std::make_unique<trust::Guard>(env);
    return {};
  }
  if (Status status = LoadKeys(s, env, std::move(wake)); !status.ok()) return status;
  auto guard = trust::Guard::New(s.auth_file, {s.auth_jwt_issuer, s.auth_jwt_audience},
                                 keyring_.get(), keys_.get(), env);
  if (!guard.ok()) return guard.status();
  guard_ = std::move(*guard);
  return {};
}

Status TrustParts::LoadKeyring(const settings::Settings& s, Env& env) {
  if (!s.tls()) return {};
  auto peers = trust::ParseNamePatterns(s.tls_peers);
  if (!peers.ok()) return Invalid("tls-peers: " + peers.status().message());
  auto keyring = trust::Keyring::New({s.tls_cert, s.tls_key, s.tls_ca}, std::move(*peers), env);
  if (!keyring.ok()) return keyring.status();
  keyring_ = std::move(*keyring);
  if (s.peer_tls != "off" && keyring_->current()->peers().empty()) {
    return Invalid(
        "tls-peers: required, since the certificate in tls-cert carries neither a URI "
        "nor a DNS name");
  }
  return {};
}

Status TrustParts::LoadKeys(const settings::Settings& s, Env& env, std::function<void()> wake) {
  if (s.auth_jwks.empty()) return {};
  if (s.auth_jwks.starts_with("https://")) {
    auto url = JwksUrl::New(s, env);
    if (!url.ok()) return Invalid("auth-jwks: " + url.status().message());
    url_ = std::move(*url);
    keys_ = std::make_unique<trust::TokenKeys>([this] { return url_->Fetch(); }, true, wake, env);
    wake();  // the first tokens may come as soon as we are ready
    return {};
  }
  const auto read = [file = s.auth_jwks] { return ReadSmallFile(file); };
  keys_ = std::make_unique<trust::TokenKeys>(read, false, std::move(wake), env);
  if (keys_->Look() != trust::Looked::kTaken) return Invalid("auth-jwks: " + keys_->error());
  return {};
}

bool TrustParts::Look() {
  bool peers_changed = false;
  if (keyring_) {
    const trust::Looked looked = keyring_->Look();
    peers_changed = looked == trust::Looked::kTaken;
    if (peers_changed || looked == trust::Looked::kRefused) metrics_.TlsReload(peers_changed);
    Tell(looked, "tls", keyring_->state().error);
  }
  if (!guard_->open()) {
    const trust::Looked looked = guard_->Look();
    Tell(looked, "auth_file", guard_->error());
  }
  // Last, as it may have to wait for who has the keys.
  if (keys_) {
    const trust::Looked looked = keys_->Look();
    if (looked == trust::Looked::kTaken) guard_->ForgetTokens();
    Tell(looked, "auth_jwks", keys_->error());
  }
  return peers_changed;
}

void TrustParts::Cancel() {
  if (url_) url_->Cancel();
}

void TrustParts::Tell(trust::Looked looked, const char* what, const std::string& error) {
  if (looked == trust::Looked::kTaken) {
    log_.Event(LogLevel::kInfo, std::string(what) + "_reloaded", "changed, and in use");
  } else if (looked == trust::Looked::kRefused) {
    log_.Event(LogLevel::kWarn, std::string(what) + "_reload_failed",
               "changed, but cannot be used: the former stays", {{"error", error}});
  }
}

}  // namespace podmirror::app
