// Any bytes, cut into reads in any way, lead to the same requests and the same refusal, and never
// to more buffered than the limits allow.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "rest/http_frame.h"

namespace podmirror::rest {
namespace {

constexpr BodyLimits kLimits{.max_value_bytes = 64, .max_batch_bytes = 256};

// What the reads lead to; `step` gives the size of the next read.
template <typename Step>
std::string Outcome(std::string_view bytes, Step step) {
  RequestReader reader(kLimits);
  std::string buffer;
  std::string outcome;
  while (!bytes.empty()) {
    const std::size_t size = std::min(step(), bytes.size());
    buffer.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    FrameState state = reader.Read(buffer);
    while (state == FrameState::kComplete) {
      const Request& request = reader.request(buffer);
      outcome.append(request.method).append(" ").append(request.target).append(" ");
      for (const Field& field : request.fields) {
        outcome.append(field.name).append(":").append(field.value).append(";");
      }
      outcome.append(request.body).append(request.keep_alive ? " keep\n" : " close\n");
      if (request.body.size() > kLimits.max_batch_bytes) std::abort();
      reader.Consume(buffer);
      state = reader.Read(buffer);
    }
    if (state == FrameState::kRefused) return outcome + "refused: " + reader.refusal().detail;
    if (buffer.size() > kMaxHeadBytes + kLimits.max_batch_bytes + 8 * 1024 + size) std::abort();
  }
  return outcome;
}

}  // namespace
}  // namespace podmirror::rest

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  using podmirror::rest::Outcome;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::uint32_t seed = data[0] + 1;
  const auto whole = Outcome(bytes, [&] { return bytes.size(); });
  const auto split = Outcome(bytes, [&] {
    seed = seed * 1103515245 + 12345;
    return std::size_t{(seed >> 16) % 32 + 1};
  });
  const auto single = Outcome(bytes, [] { return std::size_t{1}; });
  if (whole != split || whole != single) std::abort();
  return 0;
}
