// Whatever a daemon that is followed sends: the stream is given up with a reason, or the copy keeps
// its bounds and grows no younger than it is. The first byte chooses the scope; then come steps of
// a byte that says what happens, two that give a length, and as many bytes.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "cache/cache.h"
#include "follow/follower.h"
#include "fuzz/require.h"
#include "wire/codec.h"
#include "wire/follow_codec.h"

namespace podmirror::follow {
namespace {

using fuzz::Require;

constexpr std::uint64_t kMaxBytes = 1024;  // little: what comes has to be refused at times

class Copy {
 public:
  explicit Copy(Scope scope) : follower_(cache_, scope, kMaxBytes) { follower_.Opened(now_); }

  void Step(std::uint8_t what, std::string_view bytes) {
    switch (what % 4) {
      case 0:
        OnChanges(bytes);
        break;
      case 1:
        OnAnswer(bytes);
        break;
      case 2:
        for (const char byte : bytes.substr(0, 8)) Pass(static_cast<std::uint8_t>(byte));
        break;
      default:
        follower_.Lost();
        follower_.Opened(now_);
        break;
    }
    Check();
  }

 private:
  void Pass(std::uint8_t hundredths) {
    now_.steady += 10 * hundredths;
    now_.wall += 10 * hundredths;
  }

  void OnChanges(std::string_view bytes) {
    v1::ChangesResponse response;
    if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    const Result<Changes> changes = wire::Decode(response);
    if (!changes.ok()) {
      Ended(changes.status());
      return;
    }
    CheckSaidAgain(*changes, std::move(response));
    Ended(follower_.OnChanges(*changes, now_));
    Ask();
  }

  void OnAnswer(std::string_view bytes) {
    v1::Frame frame;
    if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    auto answer = wire::Decode(frame);
    if (!answer.ok() || !answer->has_value()) return;
    if (!Ended(follower_.OnReply(**std::move(answer), now_))) Ask();
    follower_.Merge();
  }

  void Ask() {
    const std::optional<sync::Message> question = follower_.Next(now_);
    if (!question) return;
    Require(!follower_.Next(now_), "one request at a time");
    v1::Frame frame;
    wire::Encode(*question, &frame);
    const auto said = wire::Decode(frame);
    Require(said.ok() && said->has_value(), "a daemon understands what it is asked");
  }

  // Begins anew when this is a failure.
  bool Ended(const Status& status) {
    if (status.ok()) return false;
    Require(!status.message().empty(), "a stream that is given up says why");
    follower_.Lost();
    Require(!follower_.complete(), "without a stream nothing is complete");
    follower_.Opened(now_);
    return true;
  }

  static void CheckSaidAgain(const Changes& changes, v1::ChangesResponse response) {
    v1::ChangesResponse again;
    wire::Encode(changes, &again);
    response.DiscardUnknownFields();
    Require(again.SerializeAsString() == response.SerializeAsString(),
            "a message said again is the same");
  }

  // Without the tables, which grow by themselves.
  std::uint64_t EntryBytes() const {
    std::uint64_t bytes = 0;
    for (std::uint32_t bucket = cache_.NextStored(0); bucket < kBuckets;
         bucket = cache_.NextStored(bucket + 1)) {
      for (const EntryRef& entry : cache_.Bucket(bucket)) bytes += entry->memory_bytes();
    }
    return bytes;
  }

  void Check() {
    Require(EntryBytes() <= kMaxBytes, "the copy keeps its bound");
    Require(follower_.as_of() <= now_.steady, "a copy is not of the future");
    Require(follower_.as_of() >= as_of_, "a copy never grows older than it was");
    as_of_ = follower_.as_of();
    Require(!follower_.equal() || follower_.complete(), "what is equal is complete");
  }

  Now now_{1'000'000, 1'700'000'000'000};
  SteadyMs as_of_ = -1;
  Cache cache_;
  Follower follower_;
};

}  // namespace

void CheckBytes(const std::uint8_t* data, std::size_t size) {
  static auto* const old_handler = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(old_handler);
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  if (rest.empty()) return;
  Copy copy(rest[0] % 2 == 0 ? Scope::kWhole : Scope::kPart);
  rest.remove_prefix(1);
  while (rest.size() >= 3) {
    const auto byte = [&rest](std::size_t at) { return static_cast<std::uint8_t>(rest[at]); };
    const std::size_t length = byte(1) + 256U * byte(2);
    const std::uint8_t what = byte(0);
    rest.remove_prefix(3);
    copy.Step(what, rest.substr(0, length));
    rest.remove_prefix(std::min(length, rest.size()));
  }
}

}  // namespace podmirror::follow

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::follow::CheckBytes(data, size);
  return 0;
}
