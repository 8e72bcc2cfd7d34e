// grpc.health.v1, for the whole server ("") and for the services of applications. Not serving until
// told.
// Thread safety: all calls from any thread.
// Invariant: a watcher is told the status after the last change, not each of quick changes.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {

class HealthService final : public Service {
 public:
  // `bulk` must outlive the service.
  explicit HealthService(net::BulkThread& bulk);
  ~HealthService() override;

  void AddTo(Methods& methods) override;

  void SetServing(bool serving);
  // Nothing serves from now on, and for good.
  void Leave();

 private:
  class Watcher;

  bool serving() const;
  void Watch(const std::shared_ptr<ServerCall>& call, grpc::ByteBuffer& request);
  void TellAll();

  net::BulkThread& bulk_;
  mutable absl::Mutex mu_;
  bool serving_ ABSL_GUARDED_BY(mu_) = false;
  bool left_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::weak_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::rpc
