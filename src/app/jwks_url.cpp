#include "app/jwks_url.h"

#include <chrono>
#include <string_view>
#include <utility>

#include "discovery/credential.h"
#include "net/address.h"

namespace podmirror::app {
namespace {

constexpr std::chrono::milliseconds kTimeout{10'000};
constexpr std::size_t kMaxDocumentBytes = 1u << 20;

// Only the cluster's own API is shown the pod's token, and only its CA is believed there.
bool IsClusterApi(const std::string& host, const std::string& kube_api_url) {
  constexpr std::string_view kService = "kubernetes.default.svc";
  const auto api = net::ParseBaseUrl(kube_api_url);
  return (api.ok() && api->host_port.host == host) || host == kService ||
         host.starts_with(std::string(kService) + ".");
}

}  // namespace

JwksUrl::JwksUrl(std::string target, std::string token_file, net::HttpClientOptions options,
                 Env& env)
    : target_(std::move(target)),
      token_file_(std::move(token_file)),
      options_(std::move(options)),
      env_(env) {}

Result<std::unique_ptr<JwksUrl>> JwksUrl::New(const settings::Settings& settings, Env& env) {
  const std::string& url = settings.auth_jwks;
  const std::size_t path = url.find('/', std::string_view("https://").size());
  auto server = net::ParseBaseUrl(url.substr(0, path));
  if (!server.ok()) return server.status();
  if (!server->https) return Invalid("is no https URL");
  net::HttpClientOptions options;
  options.server = *server;
  options.max_body_bytes = kMaxDocumentBytes;
  const bool ours = IsClusterApi(server->host_port.host, settings.kube_api_url);
  if (ours) options.ca_file = settings.kube_ca;
  return std::unique_ptr<JwksUrl>(new JwksUrl(path == url.npos ? "/" : url.substr(path),
                                              ours ? settings.kube_token_file : "",
                                              std::move(options), env));
}

void JwksUrl::Cancel() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
  if (client_ != nullptr) client_->Cancel();
}

// A client keeps its connection, but not longer than it works.
Result<net::HttpClient*> JwksUrl::Client() {
  absl::MutexLock lock(&mu_);
  if (cancelled_) return Status(Code::kUnavailable, "auth-jwks: cancelled");
  if (client_ == nullptr) {
    auto client = net::NewHttpClient(options_, env_);
    if (!client.ok()) return client.status();
    client_ = std::move(*client);
  }
  return client_.get();
}

Result<std::string> JwksUrl::Fetch() {
  const Result<net::HttpClient*> client = Client();
  if (!client.ok()) return client.status();
  net::HttpRequest request;
  request.target = target_;
  request.read_timeout = kTimeout;
  request.deadline = env_.now().steady + kTimeout.count();
  if (!token_file_.empty()) {
    Result<std::string> token = discovery::ReadSecret("kube-token-file", token_file_);
    if (!token.ok()) return token.status();
    request.headers["Authorization"] = "Bearer " + *token;
  }
  Result<net::HttpResponse> response = (*client)->Get(request);
  if (!response.ok()) {
    absl::MutexLock lock(&mu_);
    client_.reset();
    return Status(response.status().code(), "auth-jwks: " + response.status().message());
  }
  if (response->status != 200) {
    return Status(Code::kUnavailable,
                  "auth-jwks: the answer was HTTP " + std::to_string(response->status));
  }
  return std::move(response->body);
}

}  // namespace podmirror::app
