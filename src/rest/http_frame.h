// RequestReader frames HTTP/1.x: it finds the requests in the bytes of one connection, strictly,
// and says what is wrong with those that are not requests. It does no I/O.
//
// It takes the place of cpp-httplib's process_request, which spends 6 us on a request (this reader
// spends a fraction of 1 us), refuses lines over 8 KiB although our REST API allows a head of 16
// KiB, runs a regular expression over Range before any hook, and has another signature in each
// release of Debian.
//
// Thread safety: none; one reader per connection.
// Invariants: (1) the outcome depends on the bytes only, not on how they were split into reads.
//             (2) a head is at most kMaxHeadBytes, a body at most what its method allows; beyond
//                 these, only the bytes that one read brought are buffered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rest/http.h"
#include "rest/problem.h"

namespace podmirror::rest {

inline constexpr std::size_t kMaxHeadBytes = 16 * 1024;

struct BodyLimits {
  std::size_t max_value_bytes = 1024 * 1024;       // every method but POST
  std::size_t max_batch_bytes = 16 * 1024 * 1024;  // POST
};

enum class FrameState : std::uint8_t { kIncomplete, kComplete, kRefused };

class RequestReader {
 public:
  explicit RequestReader(BodyLimits limits) : limits_(limits) {}

  // `buffer` holds all bytes received, from the start of the current request on. Removes the blank
  // lines before the request and the framing of chunks; changes nothing else. After kRefused no
  // more requests can be read from the connection.
  FrameState Read(std::string& buffer);

  // The complete request; valid until `buffer` changes. Requires: Read said kComplete, and `buffer`
  // has not changed since.
  const Request& request(const std::string& buffer);
  std::string_view target(const std::string& buffer) const {
    return std::string_view(buffer).substr(target_.begin, target_.size);
  }
  // True when the current request is HEAD, complete or not: its answer has no body.
  static bool is_head(std::string_view buffer) { return buffer.starts_with("HEAD "); }
  // Requires: Read said kRefused.
  const Refusal& refusal() const { return refusal_; }

  // Removes the complete request from the front of `buffer` and starts over.
  void Consume(std::string& buffer);

  // True once per request, when the client waits for "100 Continue" before it sends the body.
  bool TakeContinue();

  // How large the buffer will be when the request is complete; 0 when that is not known.
  std::size_t expected_bytes() const { return state_ == State::kBody ? end_ : 0; }

 private:
  enum class State : std::uint8_t {
    kRequestLine,
    kFields,
    kBody,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kComplete,
    kRefused,
  };
  // A part of the buffer; views would not survive its growth.
  struct Span {
    std::size_t begin = 0;
    std::size_t size = 0;
  };

  // Some clients send blank lines behind a body: they come before the next request.
  void SkipBlankLines(std::string& buffer);
  void ReadHead(const std::string& buffer);
  void TakeRequestLine(std::string_view line, std::size_t begin);
  void TakeField(std::string_view line);
  void TakeFramingField(std::string_view name, std::string_view value);
  void EndHead();
  void ReadChunks(std::string& buffer);
  void TakeChunkSize(std::string_view line);
  // The next line without its CRLF, from pos_ on; none while it is not complete, or after Refuse.
  std::optional<std::string_view> NextLine(const std::string& buffer, std::size_t limit,
                                           Problem too_long);
  void Refuse(Problem problem, std::string detail);

  const BodyLimits limits_;
  State state_ = State::kRequestLine;
  std::size_t skipped_ = 0;  // bytes of blank lines; they count as a part of the head
  std::size_t pos_ = 0;      // all bytes before it have been understood
  std::size_t scan_ = 0;     // no line ends in [pos_, scan_)
  std::size_t end_ = 0;      // end of the body, as far as it is known

  // The head. Valid from State::kFields on.
  Span method_;
  Span target_;
  bool http_1_0_ = false;
  std::size_t fields_begin_ = 0;
  bool keep_alive_ = false;
  bool close_ = false;
  bool chunked_ = false;
  bool expects_continue_ = false;
  bool host_ = false;  // was given
  bool is_batch_ = false;
  std::optional<std::size_t> content_length_;

  std::size_t head_end_ = 0;       // valid after the head
  std::size_t chunk_left_ = 0;     // valid in kChunkData
  std::size_t trailer_bytes_ = 0;  // valid in kTrailers

  Request request_;
  Refusal refusal_{};
};

}  // namespace podmirror::rest
