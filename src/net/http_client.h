// A small HTTP/1.1 client for one server: GET with limits, deadlines and cancellation.
// Thread safety: Cancel from any thread, all else from one thread.
// Invariants: (1) no exception leaves it. (2) a body is never longer than max_body_bytes in memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "net/address.h"

namespace podmirror::net {

struct HttpClientOptions {
  BaseUrl server;
  std::string ca_file, cert_file, key_file;  // PEM; ca_file empty: the system's authorities
  std::string user, password;                // basic authentication; empty user: none
  std::size_t max_body_bytes = 64u << 20;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of several the last
  std::string body;
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;

  // target: path and query, encoded. read_timeout: longest silence of the server. Any status is an
  // answer; errors: kUnavailable (cannot connect, no answer, connection lost), kDeadline (silence
  // after the head of an answer), kExhausted (body too long), kRefused (TLS), kInternal. After
  // Cancel: any of them.
  virtual Result<HttpResponse> Get(const std::string& target,
                                   std::chrono::milliseconds read_timeout) = 0;

  // Ends the Get under way within a second and every later one, until Rearm. To miss no reason to
  // stop: Rearm, then look for that reason, then Get.
  virtual void Cancel() = 0;
  virtual void Rearm() = 0;
  virtual bool cancelled() const = 0;
};

// kInvalid when a file cannot be read; the message begins with its name.
Result<std::unique_ptr<HttpClient>> NewHttpClient(HttpClientOptions options);

}  // namespace podmirror::net
