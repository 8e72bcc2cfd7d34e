// The part of etcd's v3 API that registering needs, on one member at a time: a lease, and a key
// that hangs on it. Every call blocks.
// Thread safety: Cancel from any thread, all else from one thread at a time.
// Invariant: every call returns within its deadline, and soon after Cancel.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "discovery/etcd_options.h"
#include "etcd/rpc.grpc.pb.h"

namespace podmirror::discovery {

class RegistryLease {
 public:
  using Ms = std::chrono::milliseconds;

  struct Lease {
    std::int64_t id = 0;
    Ms ttl{};  // at least what was asked for
  };
  struct Entry {
    std::string value;
    std::int64_t lease = 0;  // 0 = it stays until it is deleted
    std::int64_t mod_revision = 0;
  };

  explicit RegistryLease(CheckedEtcdOptions options) : checked_(std::move(options)) {}

  // Errors come from etcd or the connection; kNotFound: etcd does not know that lease (any more).
  Result<Lease> Grant(std::chrono::seconds ttl);
  Status KeepAlive(std::int64_t lease);
  // When it returns OK, the lease and the key that hangs on it are gone. Works after Cancel too.
  Status Revoke(std::int64_t lease, Ms timeout);

  // nullopt: there is no such key.
  Result<std::optional<Entry>> Get(const std::string& key);
  // Writes the key under the lease if the key's revision is still `mod_revision` (0: if there is no
  // such key). False when the revision is another one now.
  Result<bool> PutIf(const std::string& key, const std::string& value, std::int64_t lease,
                     std::int64_t mod_revision);

  // All further calls go to the next member, over a new connection.
  void NextEndpoint();
  std::string endpoint_name() const { return checked_.endpoints[endpoint_].ToString(); }

  // Ends the call under way; later ones fail at once, until Revoke.
  void Cancel();

 private:
  using Call = std::function<grpc::Status(grpc::ClientContext&)>;

  Status Connect();
  Status Authenticate();
  grpc::Status Once(Ms timeout, const Call& call);
  // Connects and authenticates where needed, and authenticates once again when the token has run
  // out.
  Status Do(const Call& call);

  const CheckedEtcdOptions checked_;
  std::size_t endpoint_ = 0;
  std::shared_ptr<grpc::Channel> channel_;  // to endpoint_; null until it is first used
  std::string token_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* current_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the call under way
};

}  // namespace podmirror::discovery
