// grpc.reflection, by which tools such as grpcurl learn the services and messages of this server.
// Thread safety: calls come by the queue.
#pragma once

#include <set>
#include <string>

#include "rpc/server_call.h"

namespace podmirror::rpc {

class ReflectionService final : public Service {
 public:
  // `access` must outlive this.
  explicit ReflectionService(const trust::Access& access) : access_(access) {}

  // The services of all that is in `methods` then, and this one.
  void AddTo(Methods& methods) override;

 private:
  class Call;

  const trust::Access& access_;
  std::set<std::string> services_;
};

}  // namespace podmirror::rpc
