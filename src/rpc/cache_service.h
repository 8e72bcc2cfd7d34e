// podmirror.v1.Cache, for applications: proto/podmirror/v1/cache.proto tells what each call does.
// A write that waits for peers holds no thread: it is answered from the driver's WriteDone, or at
// once when the client goes away; the write stands either way.
// Thread safety: calls come on gRPC's threads, all at once.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "base/env.h"
#include "cache/cache.h"
#include "rpc/requests.h"
#include "sync/driver.h"

namespace podmirror::rpc {

// All that is passed must outlive the server that the service is registered with. `driver` must
// also outlive each write that was begun, until it has dropped the write's WriteDone.
std::unique_ptr<grpc::Service> NewCacheService(const RequestOptions& options, sync::Driver& driver,
                                               const Cache& cache, const Env& env);

}  // namespace podmirror::rpc
