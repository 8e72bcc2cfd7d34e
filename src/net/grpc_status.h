// How a gRPC call ended, in gRPC's codes and in ours.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/support/status.h>

#include "base/status.h"

namespace podmirror::net {

// How a call that we made ended; kOk when it ended well. The message is for people: the last cause
// of gRPC's own account ("connection refused"), at most 200 bytes, printable.
Status FromGrpc(const grpc::Status& status);

// How a call that we answer ends.
grpc::Status ToGrpc(const Status& status);

}  // namespace podmirror::net
