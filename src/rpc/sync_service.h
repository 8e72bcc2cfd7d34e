// hellorpc.Sync, as services that speak it expect: proto/hellorpc/hellorpc.proto tells what each
// call does. What a caller sets is stored here only: the caller tells the other pods itself.
// Thread safety: calls come on gRPC's threads, all at once.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "base/env.h"
#include "cache/cache.h"
#include "rpc/requests.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

// All that is passed must outlive the server that the service is registered with.
std::unique_ptr<grpc::Service> NewSyncService(const RequestOptions& options, sync::Driver& driver,
                                              const Cache& cache, const Env& env,
                                              telemetry::Metrics& metrics);

}  // namespace podmirror::rpc
