// Messages as the bytes that gRPC carries: so they are made and read where their users want it, and
// not by the thread that polls gRPC's queue.
// Thread safety: pure functions.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "base/status.h"

namespace podmirror::net {

grpc::ByteBuffer ToBytes(const google::protobuf::Message& message);

// kInvalid when `bytes` are no such message. Takes what `bytes` holds.
Status FromBytes(grpc::ByteBuffer& bytes, google::protobuf::Message* message);

}  // namespace podmirror::net
