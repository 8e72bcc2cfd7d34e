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
  // PEM files. Without a ca_file the system's authorities count; a ca_file that was replaced counts
  // from the next request on.
  std::string ca_file, cert_file, key_file;
  std::string user, password;  // basic authentication; empty user: none
  std::size_t max_body_bytes = 64u << 20;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of equal names the last
  std::string body;
};

struct HttpRequest {
  std::string target;                            // path and query, encoded
  std::chrono::milliseconds read_timeout{};      // longest silence of the server
  std::map<std::string, std::string> headers{};  // added to the default ones, or in their place
  // When the whole body must have come; checked with each piece of it.
  SteadyMs deadline = std::numeric_limits<SteadyMs>::max();
  // Takes the body of an answer with status 200 piece by piece, in place of HttpResponse::body and
  // without its limit. The first call has the head and no data. When `sink` returns false, the
  // request ends, and Get returns as if the answer were complete.
  std::function<bool(const HttpResponse& head, std::string_view data)> sink{};
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;

  // An answer with any HTTP status is a result. Errors: kUnavailable (cannot connect, no answer,
  // connection lost), kDeadline (silence after the head of an answer, or the deadline has passed),
  // kExhausted (body too long), kRefused (TLS), kInternal. After Cancel: any of these errors.
  virtual Result<HttpResponse> Get(const HttpRequest& request) = 0;

  // Ends the Get under way within a second, and every later one at once, until Rearm. The caller
  // first calls Rearm, then looks whether it has to stop, then calls Get: so it misses no reason to
  // stop.
  virtual void Cancel() = 0;
  virtual void Rearm() = 0;
  virtual bool cancelled() const = 0;
};

// kInvalid when a file cannot be read; the message begins with the file's name. Deadlines are times
// of `env`, which must outlive the client.
Result<std::unique_ptr<HttpClient>> NewHttpClient(HttpClientOptions options, Env& env);

}  // namespace podmirror::net
