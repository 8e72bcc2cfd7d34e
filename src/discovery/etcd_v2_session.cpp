#include "discovery/etcd_v2_session.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>

#include <utility>

#include "discovery/bounded_json.h"

namespace podmirror::discovery {

using nlohmann::json;

std::int64_t EtcdV2Answer::error() const {
  const auto at = body.find("errorCode");
  return at != body.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

Result<std::shared_ptr<net::HttpClient>> EtcdV2Session::Client() {
  {
    absl::MutexLock lock(&mutex_);
    if (client_ != nullptr) return client_;
  }
  const EtcdOptions& options = checked_.options;
  net::HttpClientOptions client;
  client.server = checked_.endpoints[endpoint_];
  client.user = options.user;
  if (client.server.https) {
    if (Result<EtcdTls> tls = ReadTls(options); !tls.ok()) return tls.status();
    client.ca_file = options.ca_file;
    client.cert_file = options.cert_file;
    client.key_file = options.key_file;
  }
  if (!options.user.empty()) {
    Result<std::string> password = ReadPassword(options);
    if (!password.ok()) return password.status();
    client.password = std::move(*password);
  }
  Result<std::unique_ptr<net::HttpClient>> made = net::NewHttpClient(std::move(client), env_);
  if (!made.ok()) return made.status();
  absl::MutexLock lock(&mutex_);
  client_ = std::move(*made);
  return client_;
}

Result<EtcdV2Answer> EtcdV2Session::Get(const std::string& target,
                                        std::chrono::milliseconds timeout) {
  Result<std::shared_ptr<net::HttpClient>> client = Client();
  if (!client.ok()) return client.status();
  // A Cancel that came before the client was made has not reached it.
  if (cancelled()) return Status(Code::kUnavailable, "cancelled");
  Result<net::HttpResponse> response =
      (*client)->Get({.target = "/v2/keys" + checked_.where + target, .read_timeout = timeout});
  if (!response.ok()) {
    const std::string& text = response.status().message();
    if (absl::StartsWith(text, "TLS: ") && absl::StrContains(text, " alert ")) {
      return Status(Code::kRefused, RefusedByTls(checked_.options));
    }
    return response.status();
  }
  EtcdV2Answer answer;
  answer.status = response->status;
  const auto index = response->headers.find("x-etcd-index");
  if (index != response->headers.end() &&
      (!absl::SimpleAtoi(index->second, &answer.index) || answer.index < 0)) {
    answer.index = 0;
  }
  const auto cluster = response->headers.find("x-etcd-cluster-id");
  if (cluster != response->headers.end()) answer.cluster_id = cluster->second;
  if (response->body.empty()) return answer;
  answer.body = ParseBoundedJson(response->body);
  if (!answer.body.is_object()) {
    return Status(Code::kInternal, "not an answer of etcd's v2 API (is it on? etcd --enable-v2)");
  }
  return answer;
}

Status EtcdV2Session::ToStatus(const EtcdV2Answer& answer) const {
  std::string text = "HTTP " + std::to_string(answer.status);
  const auto message = answer.body.find("message");
  if (message != answer.body.end() && message->is_string()) {
    text += " " + message->get<std::string>();
  }
  if (answer.status != 401 && answer.status != 403) return Status(Code::kUnavailable, text);
  const std::string& user = checked_.options.user;
  text += user.empty() ? ": etcd wants a user (etcd-user)"
                       : ": wrong password, or no role of " + user + " grants read on " +
                             checked_.where + "*";
  return Status(Code::kRefused, text);
}

void EtcdV2Session::Cancel() {
  std::shared_ptr<net::HttpClient> client;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    client = client_;
  }
  if (client != nullptr) client->Cancel();
}

void EtcdV2Session::Rearm() {
  std::shared_ptr<net::HttpClient> client;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = false;
    client = client_;
  }
  if (client != nullptr) client->Rearm();
}

bool EtcdV2Session::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_ || (client_ != nullptr && client_->cancelled());
}

void EtcdV2Session::NextEndpoint() {
  endpoint_ = (endpoint_ + 1) % checked_.endpoints.size();
  absl::MutexLock lock(&mutex_);
  client_ = nullptr;
}

}  // namespace podmirror::discovery
