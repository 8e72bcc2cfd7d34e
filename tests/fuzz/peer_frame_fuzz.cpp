// Whatever bytes a peer sends: they are refused with a reason, skipped, or a message that keeps all
// bounds and can be said again unchanged.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "rpc/codec.h"

using podmirror::rpc::Decode;
using podmirror::rpc::Encode;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static auto* const old_handler = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(old_handler);
  podmirror::v1::Frame frame;
  if (!frame.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto decoded = Decode(frame);
  if (!decoded.ok()) {
    if (decoded.status().message().empty()) std::abort();
    return 0;
  }
  if (!decoded->has_value()) return 0;
  podmirror::v1::Frame first;
  Encode(**decoded, &first);
  const auto again = Decode(first);
  if (!again.ok() || !again->has_value()) std::abort();
  podmirror::v1::Frame second;
  Encode(**again, &second);
  if (first.SerializeAsString() != second.SerializeAsString()) std::abort();
  return 0;
}
