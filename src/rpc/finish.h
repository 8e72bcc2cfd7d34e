// How a handler of ours ends a unary call.
// Thread safety: all calls from any thread.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "base/byte_budget.h"
#include "base/status.h"

namespace podmirror::rpc {

// Answers a unary call from within its handler, which returns what this returns.
grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const Status& status);

// Like FinishNow, for an answer that may be large though its request is small. The answer counts in
// `answers` until it has been sent, which takes as long as the client likes. When `answers` has no
// room for it, the call ends with kUnavailable "overloaded". `answers` must outlive the call.
grpc::ServerUnaryReactor* FinishRead(grpc::CallbackServerContext* context, const Status& status,
                                     google::protobuf::MessageLite* response, ByteBudget& answers);

}  // namespace podmirror::rpc
