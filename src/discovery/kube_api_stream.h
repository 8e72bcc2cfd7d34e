// Cuts the body of a watch, as it comes, into frames of one event each. In protobuf a length of 4
// bytes stands before each event; in JSON one object follows the other. The first byte of the body
// shows which of the two it is.
// Thread safety: none.
// Invariants: (1) at most kMaxFrameBytes and the piece given are held.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "discovery/pod_record.h"

namespace podmirror::discovery {

// The longest record, and 64 KiB for what an event has around it.
inline constexpr std::size_t kMaxFrameBytes = kMaxRecordBytes + (64u << 10);

class KubeWatchStream {
 public:
  using TakeFrame = std::function<Status(std::string_view frame)>;

  // Calls `take` for each frame that `piece` completes, in order. When `take` fails, stops and
  // returns the status of `take`. kExhausted when a frame is too long, kInvalid when the bytes
  // cannot be a watch. After a failure Add must not be called again.
  Status Add(std::string_view piece, const TakeFrame& take);

  // Whether a frame has begun that is not complete.
  bool mid_frame() const { return !rest_.empty(); }

 private:
  enum class Encoding { kNotKnown, kProtobuf, kJson };

  // The length of the frame that begins at `from`, with the length or blanks before its event;
  // 0 when more bytes are needed.
  Result<std::size_t> ProtobufFrame(std::size_t from) const;
  Result<std::size_t> JsonFrame(std::size_t from);

  Encoding encoding_ = Encoding::kNotKnown;
  std::string rest_;  // what has come and was not taken

  // For JSON: how far the first object of rest_ has been scanned, and the state of the scan there.
  std::size_t scanned_ = 0;
  std::size_t depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace podmirror::discovery
