// The answer to GetAll: every entry that is wanted, bucket by bucket. The next message is made when
// the last has been written, so a slow reader costs one message.
// Thread safety: StreamEntries from any thread; messages are made by the bulk thread.
#pragma once

#include <memory>

#include "base/env.h"
#include "cache/cache.h"
#include "net/bulk_thread.h"
#include "podmirror/v1/cache.pb.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {

// Ends the call once all is written, or it was cancelled. What is passed must outlive the call.
void StreamEntries(std::shared_ptr<ServerCall> call, const v1::GetAllRequest& request,
                   const Cache& cache, const Env& env, net::BulkThread& bulk);

}  // namespace podmirror::rpc
