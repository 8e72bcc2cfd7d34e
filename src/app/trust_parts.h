// What the daemon trusts, built of its settings: certificates, rules, keys of tokens, the audit. It
// looks at all of their files again.
// Thread safety: Look from one thread, all else from any.
#pragma once

#include <functional>
#include <memory>

#include "app/jwks_url.h"
#include "app/log.h"
#include "base/env.h"
#include "base/status.h"
#include "net/http_client.h"
#include "settings/settings.h"
#include "telemetry/metrics.h"
#include "trust/audit.h"
#include "trust/guard.h"
#include "trust/keyring.h"
#include "trust/token_keys.h"

namespace podmirror::app {

class TrustParts {
 public:
  // kInvalid names the setting that is wrong. `wake` makes somebody call Look soon. All that is
  // passed must outlive this.
  static Result<std::unique_ptr<TrustParts>> New(const settings::Settings& settings, Log& log,
                                                 telemetry::Metrics& metrics, Env& env,
                                                 std::function<void()> wake);

  const trust::Keyring* keyring() const { return keyring_.get(); }  // null without TLS
  const trust::Guard& guard() const { return *guard_; }
  const trust::Audit& audit() const { return audit_; }

  // Whether there are files that may change.
  bool watches() const { return keyring_ != nullptr || !guard_->open(); }
  // Looks at all of them. True when peers have to be checked anew.
  bool Look();
  // Look has to wait for nobody from now on.
  void Cancel();

 private:
  TrustParts(const settings::Settings& settings, Log& log, telemetry::Metrics& metrics);

  Status Load(const settings::Settings& settings, Env& env, std::function<void()> wake);
  Status LoadKeyring(const settings::Settings& settings, Env& env);
  Status LoadKeys(const settings::Settings& settings, Env& env, std::function<void()> wake);
  void Tell(trust::Looked looked, const char* what, const std::string& error);

  Log& log_;
  telemetry::Metrics& metrics_;
  const trust::Audit audit_;
  std::unique_ptr<trust::Keyring> keyring_;
  std::unique_ptr<JwksUrl> url_;            // null when the keys are in a file
  std::unique_ptr<trust::TokenKeys> keys_;  // null when no tokens of an issuer are taken
  std::unique_ptr<trust::Guard> guard_;
};

}  // namespace podmirror::app
