// A small HTTP/1.1 client for one server: GET with limits, deadlines and cancellation.
// Thread safety: Cancel from any thread, all else from one thread.
// Invariants: (1) no exception leaves it. (2) a body is never longer than max_body_bytes in memory.
// The process has to ignore SIGPIPE: the library writes to connections that have been closed.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/env.h"
#include "base/status.h"
#include "net/address.h"

namespace podmirror::net {

struct HttpClientOptions {
  BaseUrl server;
  // PEM; ca_file empty: the system's authorities. It is read again when it has changed.
  std::string ca_file, cert_file, key_file;
  std::string user, password;  // basic authentication; empty user: none
  std::size_t max_body_bytes = 64u << 20;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of several the last
  std::string body;
};

struct HttpRequest {
  std::string target;                            // path and query, encoded
  std::chrono::milliseconds read_timeout{};      // longest silence of the server
  std::map<std::string, std::string> headers{};  // beside or in place of those of every request
  // When the body has to be there; looked at with each piece of it that comes.
  SteadyMs deadline = std::numeric_limits<SteadyMs>::max();
  // Takes an answer with status 200 as it comes, in place of HttpResponse::body and without a
  // limit: the head and no data first, then its pieces. False ends the request, which is then done.
  std::function<bool(const HttpResponse& head, std::string_view data)> sink{};
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;

  // Any status is an answer; errors: kUnavailable (cannot connect, no answer, connection lost),
  // kDeadline (silence after the head of an answer, or the deadline has passed), kExhausted (body
  // too long), kRefused (TLS), kInternal. After Cancel: any of them.
  virtual Result<HttpResponse> Get(const HttpRequest& request) = 0;

  // Ends the Get under way within a second and every later one, until Rearm. To miss no reason to
  // stop: Rearm, then look for that reason, then Get.
  virtual void Cancel() = 0;
  virtual void Rearm() = 0;
  virtual bool cancelled() const = 0;
};

// kInvalid when a file cannot be read; the message begins with its name. `env` is the clock that
// deadlines are on, and must outlive the client.
Result<std::unique_ptr<HttpClient>> NewHttpClient(HttpClientOptions options, Env& env);

}  // namespace podmirror::net
