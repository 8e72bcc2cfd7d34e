// Cuts the body of a watch, as it comes, into frames of one event each: behind a length of 4 bytes
// in protobuf, one object after the other in JSON. Which of the two it is shows the first byte.
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

// A record as long as it may be, and what is around it.
inline constexpr std::size_t kMaxFrameBytes = kMaxRecordBytes + (64u << 10);

class KubeWatchStream {
 public:
  using TakeFrame = std::function<Status(std::string_view frame)>;

  // Calls `take` for each frame that `piece` completes, in order, until it fails; its status is
  // ours then. kExhausted when a frame is too long, kInvalid when the bytes cannot be a watch.
  // After a failure nothing more may be given.
  Status Add(std::string_view piece, const TakeFrame& take);

  // Whether a frame has begun that is not complete.
  bool mid_frame() const { return !rest_.empty(); }

 private:
  enum class Encoding { kNotKnown, kProtobuf, kJson };

  // The length of the frame that begins at `from`, what leads it included; 0 when more is needed.
  Result<std::size_t> ProtobufFrame(std::size_t from) const;
  Result<std::size_t> JsonFrame(std::size_t from);

  Encoding encoding_ = Encoding::kNotKnown;
  std::string rest_;  // what has come and was not taken

  // Of JSON, about the object that begins the rest: how far it was looked at.
  std::size_t scanned_ = 0;
  std::size_t depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace podmirror::discovery
