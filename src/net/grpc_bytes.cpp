#include "net/grpc_bytes.h"

#include <grpc/slice.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <cstddef>

namespace podmirror::net {

grpc::ByteBuffer ToBytes(const google::protobuf::Message& message) {
  const std::size_t size = message.ByteSizeLong();
  grpc_slice raw = grpc_slice_malloc(size);
  message.SerializeWithCachedSizesToArray(GRPC_SLICE_START_PTR(raw));
  const grpc::Slice slice(raw, grpc::Slice::STEAL_REF);
  return {&slice, 1};
}

Status FromBytes(grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  bool parsed = false;
  {
    grpc::ProtoBufferReader reader(&bytes);
    parsed = reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
  }
  bytes.Clear();
  return parsed ? Status() : Invalid("not a " + message->GetTypeName());
}

}  // namespace podmirror::net
