// JwksUrl fetches an issuer's keys from an https URL. Where that is the cluster's own API, it shows
// the pod's token, as Kubernetes wants it.
// Thread safety: Fetch from one thread at a time, Cancel from any.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
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
  // Ends the Fetch under way within a second, and every later one at once.
  void Cancel();

 private:
  JwksUrl(std::string target, std::string token_file, net::HttpClientOptions options, Env& env);

  Result<net::HttpClient*> Client();

  const std::string target_;
  const std::string token_file_;  // empty: none is shown
  const net::HttpClientOptions options_;
  Env& env_;
  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  // Made at the first fetch; made and dropped by the thread of Fetch alone.
  std::unique_ptr<net::HttpClient> client_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::app
