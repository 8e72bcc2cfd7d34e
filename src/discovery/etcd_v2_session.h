// A session with one member of an etcd at a time over the v2 API: requests, and what their answers
// tell about the store as a whole. Knows nothing of pods.
// Thread safety: Cancel from any thread, all else from one thread.
// Invariants: (1) certificates, keys and the password are read again whenever the session turns to
//                 a member, even if there is only one: rotated files come into use.
//             (2) only GET is ever sent.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "discovery/etcd_options.h"
#include "net/http_client.h"

namespace podmirror::discovery {

// Error codes of the v2 API.
inline constexpr int kEtcdKeyNotFound = 100;
inline constexpr int kEtcdWatcherCleared = 400;
inline constexpr int kEtcdIndexOutdated = 401;

// An answer of etcd, whatever it says.
struct EtcdV2Answer {
  int status = 0;              // of HTTP
  std::int64_t index = 0;      // of the store when it was asked; 0 = not told
  std::string cluster_id;      // empty = not told
  nlohmann::json body;         // an object; null: an empty body
  std::int64_t error() const;  // one of etcd's codes; 0 = none
};

class EtcdV2Session {
 public:
  EtcdV2Session(CheckedEtcdOptions checked, Env& env) : checked_(std::move(checked)), env_(env) {}

  // GET of the key `where` + `target`; "?recursive=true" reads all that lies below `where`. Errors:
  // those of HttpClient::Get, kInvalid naming the setting of a file that cannot be used, kInternal
  // when the answer is not one of etcd's. From Cancel until Rearm any error may come.
  Result<EtcdV2Answer> Get(const std::string& target, std::chrono::milliseconds timeout);

  // The error that an answer tells, in words for people.
  Status ToStatus(const EtcdV2Answer& answer) const;

  // As in HttpClient, and they hold also after NextEndpoint.
  void Cancel();
  void Rearm();
  bool cancelled() const;

  void NextEndpoint();
  std::string endpoint_name() const { return checked_.endpoints[endpoint_].ToString(); }

 private:
  Result<std::shared_ptr<net::HttpClient>> Client();

  const CheckedEtcdOptions checked_;
  Env& env_;
  std::size_t endpoint_ = 0;
  mutable absl::Mutex mutex_;
  std::shared_ptr<net::HttpClient> client_ ABSL_GUARDED_BY(mutex_);  // to endpoint_, or none yet
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace podmirror::discovery
