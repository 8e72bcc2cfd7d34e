// How a gRPC call ended, in gRPC's codes and in ours.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/support/status.h>

#include "base/status.h"

namespace podmirror::net {

// Translates the end of a call that we made. The message is for people: the last cause that gRPC
// names ("connection refused"), printable and at most 200 bytes.
Status FromGrpc(const grpc::Status& status);

// Translates our answer to a call.
grpc::Status ToGrpc(const Status& status);

}  // namespace podmirror::net
