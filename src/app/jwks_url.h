// JwksUrl fetches an issuer's keys from an https URL. Where that is the cluster's own API, it shows
// the pod's token, as Kubernetes wants it.
// Thread safety: one thread at a time.
#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "net/http_client.h"
#include "settings/settings.h"

namespace podmirror::app {

class JwksUrl {
 public:
  // kInvalid when auth-jwks is no https URL.
  static Result<std::unique_ptr<JwksUrl>> New(const settings::Settings& settings, Env& env);

  // The document. Takes 10 s at most.
  Result<std::string> Fetch();

 private:
  JwksUrl(std::string target, std::string token_file, net::HttpClientOptions options, Env& env);

  const std::string target_;
  const std::string token_file_;  // empty: none is shown
  const net::HttpClientOptions options_;
  Env& env_;
  std::unique_ptr<net::HttpClient> client_;  // made at the first fetch
};

}  // namespace podmirror::app
