// podmirror.v1.Cache, for applications: proto/podmirror/v1/cache.proto tells what each call does.
// A write that waits for peers holds no thread: it is answered from the driver's WriteDone, or at
// once when the client goes away; the write stands either way.
// Thread safety: calls come by the queue; listings and touches are made by the bulk thread, deletes
// by prefix by the one that scans.
#pragma once

#include <memory>

#include "base/env.h"
#include "cache/cache.h"
#include "net/bulk_thread.h"
#include "rpc/requests.h"
#include "rpc/server_call.h"
#include "sync/driver.h"

namespace podmirror::rpc {

// All that is passed must outlive the service, and `scan` be stopped before its end. `driver` must
// also outlive each write that was begun, until it has dropped the write's WriteDone.
std::unique_ptr<Service> NewCacheService(const RequestOptions& options, sync::Driver& driver,
                                         const Cache& cache, const Env& env, net::BulkThread& bulk,
                                         net::BulkThread& scan, const trust::Access& access);

}  // namespace podmirror::rpc
