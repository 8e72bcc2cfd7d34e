// The bytes of one connection, cut into reads in any way, lead to the same requests and the same
// refusal, never to more buffered than the limits allow, and to no request that its handler could
// misread.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "fuzz/require.h"
#include "rest/http_frame.h"

namespace podmirror::rest {
namespace {

using fuzz::Require;

constexpr BodyLimits kLimits{.max_value_bytes = 64, .max_batch_bytes = 256};
// Trailers and a chunk line may wait behind a body that is complete but for them.
constexpr std::size_t kMaxFraming = 9 * 1024;

// --- what a request may look like ---

bool IsVisible(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

void CheckRequest(const Request& request) {
  const std::size_t limit =
      request.method == "POST" ? kLimits.max_batch_bytes : kLimits.max_value_bytes;
  Require(request.body.size() <= limit, "a body is within the limit of its method");
  Require(!request.method.empty() && request.method.find_first_of("/:\"(),;") == std::string::npos,
          "the method is a token");
  Require(std::all_of(request.method.begin(), request.method.end(), IsVisible),
          "the method is visible text");
  Require(request.target.starts_with('/') || (request.target == "*" && request.method == "OPTIONS"),
          "the target is a path, or the asterisk of OPTIONS");
  Require(std::all_of(request.target.begin(), request.target.end(), IsVisible),
          "the target is visible text");
  for (const Field& field : request.fields) {
    Require(!field.name.empty() && std::all_of(field.name.begin(), field.name.end(), IsVisible) &&
                field.name.find(':') == std::string_view::npos,
            "the name of a field is a token");
    Require(std::all_of(field.value.begin(), field.value.end(),
                        [](char c) { return IsVisible(c) || IsBlank(c); }),
            "no field ends its line early");
    Require(field.value.empty() || !(IsBlank(field.value.front()) || IsBlank(field.value.back())),
            "the value of a field has no blanks around it");
  }
}

// Fields that tell how the request is sent, not what it asks.
bool IsFraming(const Field& field) {
  return Request::IsNamed(field, "content-length") ||
         Request::IsNamed(field, "transfer-encoding") || Request::IsNamed(field, "connection") ||
         Request::IsNamed(field, "host");
}

// A text that tells everything else about the request.
std::string Describe(const Request& request) {
  std::string text(request.method);
  text.append(" ").append(request.target).append(request.keep_alive ? " keep\n" : " close\n");
  for (const Field& field : request.fields) {
    if (!IsFraming(field)) text.append(field.name).append(":").append(field.value).append("\n");
  }
  return text.append("\n").append(request.body);
}

// --- reading ---

// What the bytes lead to; `next_read` gives the size of the next read.
std::string Outcome(std::string_view bytes, const std::function<std::size_t()>& next_read) {
  RequestReader reader(kLimits);
  std::string buffer;
  std::string outcome;
  bool continued = false;
  while (!bytes.empty()) {
    const std::size_t size = std::min(next_read(), bytes.size());
    buffer.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    FrameState state = reader.Read(buffer);
    while (state == FrameState::kComplete) {
      const Request& request = reader.request(buffer);
      CheckRequest(request);
      outcome.append(Describe(request)).append("\n");
      reader.Consume(buffer);
      continued = false;
      state = reader.Read(buffer);
    }
    if (state == FrameState::kRefused) {
      Require(!reader.refusal().detail.empty(), "a refusal says why");
      return outcome + "refused: " + reader.refusal().detail;
    }
    if (reader.TakeContinue()) {
      Require(!continued, "a client is told once to go on");
      continued = true;
    }
    Require(buffer.size() <= kMaxHeadBytes + kLimits.max_batch_bytes + kMaxFraming + size,
            "what waits is bounded");
    Require(reader.expected_bytes() == 0 || reader.expected_bytes() > buffer.size(),
            "an incomplete request expects more");
  }
  return outcome;
}

// --- saying it again ---

// The request, written the plainest way.
std::string Plain(const Request& request) {
  std::string text(request.method);
  text.append(" ").append(request.target).append(" HTTP/1.1\r\nHost: h\r\n");
  for (const Field& field : request.fields) {
    if (IsFraming(field)) continue;
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  if (!request.keep_alive) text.append("Connection: close\r\n");
  text.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n\r\n");
  return text.append(request.body);
}

void CheckPlain(std::string_view bytes) {
  RequestReader reader(kLimits);
  std::string buffer(bytes);
  if (reader.Read(buffer) != FrameState::kComplete) return;
  const Request& request = reader.request(buffer);
  std::string plain = Plain(request);
  if (plain.size() > kMaxHeadBytes) return;
  RequestReader again(kLimits);
  Require(again.Read(plain) == FrameState::kComplete, "a request can be said again");
  Require(Describe(again.request(plain)) == Describe(request), "said again it is the same");
}

}  // namespace

void CheckConnection(std::string_view bytes) {
  const std::string whole = Outcome(bytes, [&] { return bytes.size(); });
  const auto same = [&](const std::function<std::size_t()>& next_read) {
    Require(Outcome(bytes, next_read) == whole, "how the bytes were cut does not matter");
  };
  same([] { return std::size_t{1}; });
  // The cuts follow from the bytes, so that an input is nothing but what a client sends.
  std::uint32_t seed = 2166136261;
  for (const char c : bytes) seed = (seed ^ static_cast<unsigned char>(c)) * 16777619;
  std::size_t cut = bytes.empty() ? 1 : seed % bytes.size() + 1;
  same([&] { return std::exchange(cut, bytes.size()); });
  same([&] {
    seed = seed * 1103515245 + 12345;
    return std::size_t{(seed >> 16) % 32 + 1};
  });
  CheckPlain(bytes);
}

}  // namespace podmirror::rest

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::rest::CheckConnection({reinterpret_cast<const char*>(data), size});
  return 0;
}
