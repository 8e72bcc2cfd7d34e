#include "net/http_client.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/synchronization/mutex.h>
#include <httplib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "net/resolver.h"

namespace podmirror::net {
namespace {

// A connection attempt cannot be interrupted: Cancel waits until it is over.
constexpr std::chrono::milliseconds kConnectTimeout{800};
constexpr std::chrono::milliseconds kWriteTimeout{800};
constexpr std::chrono::milliseconds kResolveTimeout{5000};

// The first error that OpenSSL has noted on this thread, an alert of the server for example; empty
// when there is none. cpp-httplib does not tell it.
std::string TakeTlsReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  return reason == nullptr ? std::string() : reason;
}

// Empty when the file cannot be read, or `file` is empty.
std::string Content(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

class HttplibClient final : public HttpClient {
 public:
  HttplibClient(HttpClientOptions options, Env& env)
      : options_(std::move(options)),
        env_(env),
        resolver_(env),
        authorities_(Content(options_.ca_file)),
        client_(NewClient(options_)) {}

  Result<HttpResponse> Get(const HttpRequest& request) override {
    if (cancelled_) return Status(Code::kUnavailable, "cancelled");
    try {
      if (Status status = UseAuthorities(); !status.ok()) return status;
      if (Status status = ChooseAddress(); !status.ok()) return status;
      Result<HttpResponse> response = Send(request);
      if (!response.ok()) address_.clear();  // another address may work
      return response;
    } catch (const std::exception& error) {
      return Status(Code::kInternal, error.what());
    }
  }

  void Cancel() override {
    absl::MutexLock lock(&cancel_mutex_);
    cancelled_ = true;
    resolver_.Cancel();
    client_->stop();
  }

  void Rearm() override {
    absl::MutexLock lock(&cancel_mutex_);
    cancelled_ = false;
    resolver_.Rearm();
  }

  bool cancelled() const override { return cancelled_; }

 private:
  // Gives cpp-httplib host and port: its own parser of URLs does not know all forms of IPv6.
  static std::unique_ptr<httplib::ClientImpl> NewClient(const HttpClientOptions& options) {
    const HostPort& server = options.server.host_port;
    std::unique_ptr<httplib::ClientImpl> client;
    if (options.server.https) {
      auto tls = std::make_unique<httplib::SSLClient>(server.host, server.port, options.cert_file,
                                                      options.key_file);
      VerifyServer(options, *tls);
      client = std::move(tls);
    } else {
      client = std::make_unique<httplib::ClientImpl>(server.host, server.port);
    }
    client->set_connection_timeout(kConnectTimeout);
    client->set_write_timeout(kWriteTimeout);
    client->set_keep_alive(true);
    client->set_decompress(false);
    client->set_follow_location(false);
    client->set_url_encode(false);
    client->set_tcp_nodelay(true);
    client->set_default_headers({{"User-Agent", "podmirrord"}, {"Accept", "application/json"}});
    if (!options.user.empty()) client->set_basic_auth(options.user, options.password);
    return client;
  }

  // Lets OpenSSL check the server's name in the handshake. cpp-httplib's own check compares the 16
  // bytes of an IPv6 address with every address in the certificate, even with shorter ones.
  static void VerifyServer(const HttpClientOptions& options, httplib::SSLClient& client) {
    client.enable_server_certificate_verification(false);
    SSL_CTX* tls = client.ssl_context();
    if (tls == nullptr) return;  // our certificate cannot be used; the first request says so
    const int loaded = options.ca_file.empty()
                           ? SSL_CTX_set_default_verify_paths(tls)
                           : SSL_CTX_load_verify_locations(tls, options.ca_file.c_str(), nullptr);
    if (loaded != 1) throw std::runtime_error(options.ca_file + ": " + TakeTlsReason());
    const HostPort& server = options.server.host_port;
    X509_VERIFY_PARAM* wanted = SSL_CTX_get0_param(tls);
    const int known = server.is_ip ? X509_VERIFY_PARAM_set1_ip_asc(wanted, server.host.c_str())
                                   : X509_VERIFY_PARAM_set1_host(wanted, server.host.c_str(), 0);
    if (known != 1) throw std::runtime_error(server.host + ": not a name for a certificate");
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, nullptr);
  }

  // cpp-httplib reads ca_file only once, but the file may be replaced while we run.
  Status UseAuthorities() {
    if (options_.ca_file.empty()) return Status();
    std::string now = Content(options_.ca_file);
    if (now.empty()) {
      return Status(Code::kRefused, options_.ca_file + " cannot be read or is empty");
    }
    if (now == authorities_) return Status();
    std::unique_ptr<httplib::ClientImpl> client = NewClient(options_);
    authorities_ = std::move(now);
    address_.clear();
    absl::MutexLock lock(&cancel_mutex_);
    client_.swap(client);
    return Status();
  }

  // Resolves the server's name, because cpp-httplib would do it in a call that cannot be
  // interrupted.
  Status ChooseAddress() {
    const HostPort& server = options_.server.host_port;
    if (server.is_ip || !address_.empty()) return Status();
    std::vector<Result<Resolver::Addresses>> found =
        resolver_.Resolve({server.host}, kResolveTimeout);
    // Not the resolver's code: callers take kNotFound for an answer of the server, and kDeadline
    // for its silence.
    if (!found[0].ok()) return {Code::kUnavailable, found[0].status().message()};
    const Resolver::Addresses& addresses = *found[0];
    address_ = addresses[attempt_++ % addresses.size()];
    client_->set_hostname_addr_map({{server.host, address_}});
    return Status();
  }

  Result<HttpResponse> Send(const HttpRequest& request) {
    HttpResponse response;
    bool too_long = false;
    bool late = false;
    bool done = false;
    client_->set_read_timeout(request.read_timeout);
    SteadyMs heard = env_.now().steady;
    const bool sinks = static_cast<bool>(request.sink);
    const httplib::Result result = client_->Get(
        request.target, httplib::Headers(request.headers.begin(), request.headers.end()),
        [&](const httplib::Response& head) {
          heard = env_.now().steady;
          response.status = head.status;
          for (const auto& [name, value] : head.headers) {
            response.headers[absl::AsciiStrToLower(name)] = value;
          }
          done = sinks && head.status == 200 && !request.sink(response, {});
          // A Cancel that came before the request had begun could not stop it.
          return !done && !cancelled_;
        },
        [&](const char* data, std::size_t size) {
          heard = env_.now().steady;
          late = heard >= request.deadline;
          if (late || cancelled_) return false;
          if (sinks && response.status == 200) {
            done = !request.sink(response, std::string_view(data, size));
            return !done;
          }
          too_long = size > options_.max_body_bytes - response.body.size();
          if (!too_long) response.body.append(data, size);
          return !too_long;
        });
    if (result || done) return response;
    if (too_long) return Status(Code::kExhausted, "answer too long");
    if (late) return Status(Code::kDeadline, "the answer did not end in time");
    const bool silent = env_.now().steady - heard >= request.read_timeout.count();
    return ToStatus(result.error(), silent, response.status != 0);
  }

  static Status ToStatus(httplib::Error error, bool silent, bool has_head) {
    const std::string tls_reason = TakeTlsReason();
    switch (error) {
      case httplib::Error::Connection:
        return Status(Code::kUnavailable, "connection refused or no route");
      case httplib::Error::ConnectionTimeout:
        return Status(Code::kUnavailable, "no answer to the connection attempt");
      case httplib::Error::Read:
        // Only an alert is a refusal; OpenSSL's other errors tell how a connection ended.
        if (absl::StrContains(tls_reason, " alert "))
          return Status(Code::kRefused, "TLS: " + tls_reason);
        if (!silent) return Status(Code::kUnavailable, "connection lost");
        return has_head ? Status(Code::kDeadline, "the answer stopped")
                        : Status(Code::kUnavailable, "no answer");
      case httplib::Error::Write:
      case httplib::Error::Canceled:
        return Status(Code::kUnavailable, "connection lost");
      case httplib::Error::SSLServerVerification:
        return Status(Code::kRefused, "TLS: certificate verify failed");
      case httplib::Error::SSLConnection:
      case httplib::Error::SSLLoadingCerts:
        return Status(Code::kRefused,
                      "TLS: " + (tls_reason.empty() ? httplib::to_string(error) : tls_reason));
      default:
        return Status(Code::kInternal, httplib::to_string(error));
    }
  }

  const HttpClientOptions options_;
  Env& env_;
  Resolver resolver_;
  // Held by Cancel and Rearm as a whole: the second half of a Cancel must not end a Get that comes
  // after the Rearm. It also keeps client_ from being exchanged during a Cancel.
  absl::Mutex cancel_mutex_;
  std::atomic<bool> cancelled_ = false;
  std::string authorities_;  // the content of ca_file that client_ was made with
  std::string address_;      // where the server's name leads; empty: it is to be resolved
  std::size_t attempt_ = 0;
  std::unique_ptr<httplib::ClientImpl> client_;
};

}  // namespace

Result<std::unique_ptr<HttpClient>> NewHttpClient(HttpClientOptions options, Env& env) {
  for (const std::string& file : {options.ca_file, options.cert_file, options.key_file}) {
    if (!file.empty() && !std::ifstream(file)) {
      return Status(Code::kInvalid, file + ": cannot be read");
    }
  }
  try {
    return std::unique_ptr<HttpClient>(new HttplibClient(std::move(options), env));
  } catch (const std::exception& error) {
    return Status(Code::kInternal, error.what());
  }
}

}  // namespace podmirror::net
