#include "discovery/kube_api_client.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <utility>

#include "discovery/credential.h"
#include "discovery/kube_api_stream.h"
#include "discovery/pod_store.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;

constexpr const char* kTokenSetting = "kube-token-file";

constexpr int kPageSize = 500;
constexpr int kNoPages = 0;
// Twice the pages that kMaxRecords pods need: a list with more never comes to an end.
constexpr int kMaxPages = static_cast<int>(2 * kMaxRecords / kPageSize);
constexpr milliseconds kListSilence{10'000};
constexpr SteadyMs kPageTimeoutMs = 60'000;
constexpr std::chrono::minutes kLongestRetryAfter{1};

constexpr const char* kListAccept = "application/vnd.kubernetes.protobuf,application/json";
constexpr const char* kWatchAccept =
    "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch,"
    "application/json";

// `text`, percent-encoded as a part of a path or of a query.
std::string Encoded(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || std::string_view("-._~").find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

// The user whom the API names in `pods is forbidden: User "..." cannot list ...`: for
// "system:serviceaccount:ns:name" it is "ServiceAccount ns/name", for another "user <name>". Empty
// when the API names none.
std::string UserOf(std::string_view message) {
  constexpr std::string_view kUser = "User \"";
  constexpr std::string_view kServiceAccount = "system:serviceaccount:";
  const std::size_t begin = message.find(kUser);
  if (begin == message.npos) return "";
  message.remove_prefix(begin + kUser.size());
  std::string user(message.substr(0, message.find('"')));
  if (!user.starts_with(kServiceAccount)) return "user " + user;
  user.erase(0, kServiceAccount.size());
  std::replace(user.begin(), user.end(), ':', '/');
  return "ServiceAccount " + user;
}

bool IsToken(const std::string& token) {
  return !token.empty() &&
         std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
}

KubeStatus StatusOf(const net::HttpResponse& response) {
  KubeStatus status = DecodeKubeStatus(response.body);
  status.code = response.status;
  const auto header = response.headers.find("retry-after");
  std::int64_t seconds = 0;
  if (header != response.headers.end() && absl::SimpleAtoi(header->second, &seconds) &&
      seconds > 0) {
    const std::int64_t longest = std::chrono::seconds(kLongestRetryAfter).count();
    status.retry_after = std::chrono::seconds(std::min(seconds, longest));
  }
  return status;
}

}  // namespace

Result<std::unique_ptr<KubeApiClient>> KubeApiClient::New(KubeApiOptions options, std::string ns,
                                                          const std::string& selector,
                                                          std::function<bool()> stopping,
                                                          Env& env) {
  const Result<net::BaseUrl> url = net::ParseBaseUrl(options.url);
  if (!url.ok()) return Invalid("kube-api-url: " + url.status().message());
  if (!url->https && !net::IsLoopback(url->host_port.host)) {
    return Invalid("kube-api-url: " + options.url +
                   " would show the token to everybody: https://, or a loopback address");
  }
  if (!url->https && !options.ca_file.empty()) {
    return Invalid("kube-ca: no use while kube-api-url is not https://");
  }
  if (Result<std::string> read = ReadCertificates("kube-ca", options.ca_file); !read.ok()) {
    return read.status();
  }
  net::HttpClientOptions http_options;
  http_options.server = *url;
  http_options.ca_file = options.ca_file;
  Result<std::unique_ptr<net::HttpClient>> http = net::NewHttpClient(std::move(http_options), env);
  if (!http.ok()) return http.status();
  std::unique_ptr<KubeApiClient> client(
      new KubeApiClient(std::move(options), url->ToString(), std::move(ns), selector,
                        std::move(stopping), env, std::move(*http)));
  if (Result<std::string> token = client->ReadToken(); !token.ok()) return token.status();
  return client;
}

KubeApiClient::KubeApiClient(KubeApiOptions options, std::string server, std::string ns,
                             const std::string& selector, std::function<bool()> stopping, Env& env,
                             std::unique_ptr<net::HttpClient> http)
    : options_(std::move(options)),
      server_(std::move(server)),
      ns_(std::move(ns)),
      path_("/api/v1/namespaces/" + Encoded(ns_) + "/pods"),
      selector_(selector.empty() ? "" : "&labelSelector=" + Encoded(selector)),
      stopping_(std::move(stopping)),
      env_(env),
      http_(std::move(http)) {}

Result<std::string> KubeApiClient::ReadToken() const {
  if (options_.token_file.empty()) return std::string();
  Result<std::string> token = ReadSecret(kTokenSetting, options_.token_file);
  if (token.ok() && !IsToken(*token)) {
    return Invalid(absl::StrCat(kTokenSetting, ": ", options_.token_file, " holds no token"));
  }
  return token;
}

// Reads the token for each request: it lives for about an hour, and its file is replaced before.
Result<net::HttpResponse> KubeApiClient::Send(net::HttpRequest request) {
  retry_after_ = milliseconds(0);
  while (true) {
    Result<std::string> token = ReadToken();
    if (!token.ok()) return Status(Code::kRefused, token.status().message());
    token_ = std::move(*token);
    if (!token_.empty()) request.headers["Authorization"] = "Bearer " + token_;
    Result<net::HttpResponse> response = http_->Get(request);
    if (!response.ok() || response->status != 401) return response;
    // When the token was replaced while the request was under way, asks once more with the new one.
    token = ReadToken();
    if (!token.ok() || *token == token_) return response;
  }
}

// A Cancel that was meant for a watch, and comes after the watch has ended by itself, must not end
// the list that follows: then the request is made again.
Result<net::HttpResponse> KubeApiClient::SendUncancelled(const net::HttpRequest& request) {
  while (true) {
    http_->Rearm();
    if (stopping_()) return Status(Code::kUnavailable, "stopping");
    Result<net::HttpResponse> response = Send(request);
    if (response.ok() || !http_->cancelled()) return response;
  }
}

Status KubeApiClient::Refusal(const KubeStatus& status, const char* verb) {
  retry_after_ = std::min<milliseconds>(status.retry_after, kLongestRetryAfter);
  std::string said =
      absl::StrCat("HTTP ", status.code, status.message.empty() ? "" : ": ", status.message);
  // A server that repeats our request in its answer must not make us show the token.
  if (!token_.empty()) absl::StrReplaceAll({{token_, "(token)"}}, &said);
  switch (status.code) {
    case 401:
      return Status(Code::kRefused,
                    absl::StrCat("the token is not accepted (", kTokenSetting, " ",
                                 options_.token_file.empty() ? "is not set" : options_.token_file,
                                 "); ", said));
    case 403: {
      const std::string user = UserOf(status.message);
      return Status(
          Code::kRefused,
          absl::StrCat("not allowed to ", verb, " pods in namespace ", ns_,
                       ": RBAC rule missing: a Role there with resources [pods] of the core API "
                       "group, verbs [get, list, watch], and its RoleBinding to ",
                       user.empty() ? "this pod's ServiceAccount" : user, "; ", said));
    }
    case 410:
      return Status(Code::kNotFound, said);
    default:
      return Status(Code::kUnavailable, said);
  }
}

Result<std::int64_t> KubeApiClient::ListPages(int limit,
                                              const std::function<Status(KubePod)>& each) {
  std::string next;
  for (int page = 0; page < kMaxPages; ++page) {
    net::HttpRequest request;
    request.target = absl::StrCat(path_, "?limit=", limit, selector_);
    if (!next.empty()) absl::StrAppend(&request.target, "&continue=", Encoded(next));
    request.headers["Accept"] = kListAccept;
    request.read_timeout = kListSilence;
    request.deadline = env_.now().steady + kPageTimeoutMs;
    const Result<net::HttpResponse> response = SendUncancelled(request);
    if (!response.ok()) return response.status();
    if (response->status != 200) return Refusal(StatusOf(*response), "list");
    Status taken;
    const Result<KubeListPage> read = DecodeKubeList(response->body, [&](KubePod pod) {
      if (taken.ok()) taken = each(std::move(pod));
    });
    if (!read.ok()) return read.status();
    if (!taken.ok()) return taken;
    next = read->continue_token;
    if (next.empty()) return read->revision;
  }
  return Status(Code::kExhausted, "a list without an end");
}

Result<std::int64_t> KubeApiClient::List(const std::function<void()>& again,
                                         const std::function<Status(KubePod)>& each) {
  Result<std::int64_t> revision = ListPages(kPageSize, each);
  if (revision.status().code() != Code::kNotFound) return revision;
  again();
  return ListPages(kNoPages, each);
}

Status KubeApiClient::Watch(std::int64_t revision, SteadyMs until, const Watcher& watcher) {
  const SteadyMs left = std::max<SteadyMs>(until - env_.now().steady, 1);
  // The API is asked to end the watch a second or more after `until`, so that it is we who end it.
  constexpr SteadyMs kSecondMs = 1000;
  net::HttpRequest request;
  request.target =
      absl::StrCat(path_, "?watch=1&allowWatchBookmarks=true&resourceVersion=", revision,
                   "&timeoutSeconds=", left / kSecondMs + 2, selector_);
  request.headers["Accept"] = kWatchAccept;
  request.read_timeout = std::min(options_.quiet_limit, milliseconds(left));
  request.deadline = until;

  KubeWatchStream stream;
  Status status;
  bool head = true;
  bool news = false;
  const auto take = [&](std::string_view frame) {
    news = true;
    Result<KubeEvent> event = DecodeKubeEvent(frame);
    if (!event.ok()) return event.status();
    if (event->type == KubeEvent::Type::kError) return Refusal(event->status, "watch");
    return watcher.event(std::move(*event));
  };
  request.sink = [&](const net::HttpResponse&, std::string_view piece) {
    if (head) {
      head = false;
      return watcher.opened();
    }
    news = false;
    status = stream.Add(piece, take);
    if (news) watcher.settled();
    return status.ok();
  };
  const Result<net::HttpResponse> response = Send(std::move(request));
  if (!status.ok()) return status;
  if (!response.ok()) return response.status();
  if (response->status != 200) return Refusal(StatusOf(*response), "watch");
  if (stream.mid_frame()) return Status(Code::kUnavailable, "the watch ended within an event");
  return Status();
}

}  // namespace podmirror::discovery
