// hellorpc.Sync, as services that speak it expect: proto/hellorpc/hellorpc.proto tells what each
// call does. What a caller sets is stored here only: the caller tells the other pods itself.
// Thread safety: calls come by the queue, GetAll's answers are made by the bulk thread.
#pragma once

#include <memory>

#include "base/env.h"
#include "cache/cache.h"
#include "net/bulk_thread.h"
#include "rpc/requests.h"
#include "rpc/server_call.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

// All that is passed must outlive the service.
std::unique_ptr<Service> NewSyncService(const RequestOptions& options, sync::Driver& driver,
                                        const Cache& cache, const Env& env,
                                        telemetry::Metrics& metrics, net::BulkThread& bulk,
                                        const trust::Access& access);

}  // namespace podmirror::rpc
