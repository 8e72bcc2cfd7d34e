#include "discovery/kube_api_stream.h"

namespace podmirror::discovery {
namespace {

constexpr std::size_t kLengthBytes = 4;

Status TooLong() { return Status(Code::kExhausted, "an event longer than 4 MiB"); }
Status NotAWatch() {
  return Status(Code::kInvalid, "not a watch of pods: is this the Kubernetes API?");
}

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

Result<std::size_t> KubeWatchStream::ProtobufFrame(std::size_t from) const {
  if (rest_.size() - from < kLengthBytes) return std::size_t{0};
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(rest_[from + i]);
  }
  if (length > kMaxFrameBytes) return TooLong();
  const std::size_t whole = kLengthBytes + length;
  return rest_.size() - from < whole ? std::size_t{0} : whole;
}

Result<std::size_t> KubeWatchStream::JsonFrame(std::size_t from) {
  for (std::size_t at = from + scanned_; at < rest_.size(); ++at, ++scanned_) {
    if (scanned_ > kMaxFrameBytes) return TooLong();
    const char c = rest_[at];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"' && depth_ > 0) {
      in_string_ = true;
    } else if (c == '{') {
      ++depth_;
    } else if (depth_ == 0 && !IsBlank(c)) {
      return NotAWatch();
    } else if (c == '}' && --depth_ == 0) {
      const std::size_t whole = scanned_ + 1;
      scanned_ = 0;
      return whole;
    }
  }
  return std::size_t{0};
}

Status KubeWatchStream::Add(std::string_view piece, const TakeFrame& take) {
  if (piece.empty()) return Status();
  if (encoding_ == Encoding::kNotKnown) {
    // Frames of protobuf are shorter than 16 MiB, so their length begins with a zero byte.
    if (piece[0] != '\0' && piece[0] != '{' && !IsBlank(piece[0])) return NotAWatch();
    encoding_ = piece[0] == '\0' ? Encoding::kProtobuf : Encoding::kJson;
  }
  rest_ += piece;
  const bool protobuf = encoding_ == Encoding::kProtobuf;
  std::size_t taken = 0;
  Status status;
  while (status.ok()) {
    const Result<std::size_t> whole = protobuf ? ProtobufFrame(taken) : JsonFrame(taken);
    if (!whole.ok()) return whole.status();
    if (*whole == 0) break;
    std::string_view frame(rest_.data() + taken, *whole);
    frame.remove_prefix(protobuf ? kLengthBytes : frame.find('{'));
    taken += *whole;
    status = take(frame);
  }
  rest_.erase(0, taken);
  if (!protobuf && depth_ == 0) {  // what is left are blanks, which belong to no frame
    rest_.clear();
    scanned_ = 0;
  }
  return status;
}

}  // namespace podmirror::discovery
