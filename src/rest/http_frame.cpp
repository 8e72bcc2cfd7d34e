#include "rest/http_frame.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/http_syntax.h"

namespace podmirror::rest {
namespace {

constexpr std::size_t kMaxChunkLineBytes = 1024;
constexpr std::size_t kMaxTrailerBytes = 8 * 1024;
// Room for so many fields is kept between requests.
constexpr std::size_t kKeptFields = 64;

// Where the path begins in a target of absolute form (http://server/path, as clients send it to
// proxies); npos when such a target has no path or no valid server. 0 for other targets.
std::size_t PathOffset(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!EqualsIgnoreCase(target.substr(0, scheme.size()), scheme)) continue;
    const std::size_t path = target.find_first_of("/?#", scheme.size());
    if (path == std::string_view::npos || target[path] != '/') return std::string_view::npos;
    const std::string_view authority = target.substr(scheme.size(), path - scheme.size());
    return IsAuthority(authority) ? path : std::string_view::npos;
  }
  return 0;
}

}  // namespace

FrameState RequestReader::Read(std::string& buffer) {
  if (state_ == State::kRequestLine) SkipBlankLines(buffer);
  if (state_ < State::kBody) ReadHead(buffer);
  if (state_ == State::kBody && buffer.size() >= end_) state_ = State::kComplete;
  if (state_ > State::kBody && state_ < State::kComplete) ReadChunks(buffer);
  if (state_ == State::kRefused) return FrameState::kRefused;
  return state_ == State::kComplete ? FrameState::kComplete : FrameState::kIncomplete;
}

const Request& RequestReader::request(const std::string& buffer) {
  const std::string_view bytes(buffer);
  request_.method = bytes.substr(method_.begin, method_.size);
  request_.target = target(buffer);
  request_.body = bytes.substr(head_end_, end_ - head_end_);
  request_.http_1_0 = http_1_0_;
  request_.keep_alive = keep_alive_ && !close_;
  // The fields are split here once more, instead of being kept from TakeField: a head of many tiny
  // fields would otherwise take many times its size in memory while it waits for its body.
  request_.fields.clear();
  std::string_view lines = bytes.substr(fields_begin_, head_end_ - 2 - fields_begin_);
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(line.size() + 2);
    const std::size_t colon = line.find(':');
    request_.fields.push_back({line.substr(0, colon), Trim(line.substr(colon + 1))});
  }
  return request_;
}

void RequestReader::Consume(std::string& buffer) {
  buffer.erase(0, end_);
  state_ = State::kRequestLine;
  skipped_ = pos_ = scan_ = end_ = head_end_ = 0;
  http_1_0_ = keep_alive_ = close_ = chunked_ = expects_continue_ = host_ = is_batch_ = false;
  content_length_.reset();
  if (request_.fields.capacity() > kKeptFields) std::vector<Field>().swap(request_.fields);
}

bool RequestReader::TakeContinue() {
  const bool waits = expects_continue_ && state_ >= State::kBody && state_ < State::kComplete;
  if (waits) expects_continue_ = false;
  return waits;
}

void RequestReader::Refuse(Problem problem, std::string detail) {
  state_ = State::kRefused;
  refusal_ = {problem, std::move(detail)};
}

std::optional<std::string_view> RequestReader::NextLine(const std::string& buffer,
                                                        std::size_t limit, Problem too_long) {
  const std::size_t stop = std::min(buffer.size(), limit);
  const void* found =
      scan_ < stop ? std::memchr(buffer.data() + scan_, '\n', stop - scan_) : nullptr;
  if (found == nullptr) {
    scan_ = std::max(scan_, stop);
    if (buffer.size() >= limit) {
      Refuse(too_long, too_long == Problem::kHeadTooLarge
                           ? absl::StrCat("the head is over ", kMaxHeadBytes, " bytes")
                           : "a line of the chunked body is too long");
    }
    return std::nullopt;
  }
  const auto newline = static_cast<std::size_t>(static_cast<const char*>(found) - buffer.data());
  const std::string_view line(buffer.data() + pos_, newline - pos_);
  pos_ = scan_ = newline + 1;
  if (line.empty() || line.back() != '\r') {
    Refuse(Problem::kInvalidRequest, "a line does not end with CR LF");
    return std::nullopt;
  }
  return line.substr(0, line.size() - 1);
}

// Blank lines are removed from the buffer: a connection with bytes in its buffer counts as one that
// has begun a request.
void RequestReader::SkipBlankLines(std::string& buffer) {
  std::size_t blank = 0;
  while (skipped_ + blank < kMaxHeadBytes && buffer.compare(blank, 2, "\r\n") == 0) blank += 2;
  if (blank == 0) return;
  buffer.erase(0, blank);
  skipped_ += blank;
  scan_ = 0;
}

void RequestReader::ReadHead(const std::string& buffer) {
  while (state_ < State::kBody) {
    const std::size_t begin = pos_;
    const auto line = NextLine(buffer, kMaxHeadBytes - skipped_, Problem::kHeadTooLarge);
    if (!line) return;
    if (state_ == State::kRequestLine) {
      TakeRequestLine(*line, begin);
    } else if (line->empty()) {
      EndHead();
    } else {
      TakeField(*line);
    }
  }
}

void RequestReader::TakeRequestLine(std::string_view line, std::size_t begin) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return Refuse(Problem::kInvalidRequest, "the request line is not METHOD TARGET VERSION");
  }
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return Refuse(Problem::kInvalidRequest, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  }
  if (!IsToken(method)) return Refuse(Problem::kInvalidRequest, "the method is malformed");
  const std::size_t path = PathOffset(target);
  const bool asterisk = target == "*" && method == "OPTIONS";
  if (path == std::string_view::npos || !IsText(target, false) ||
      (target.substr(path, 1) != "/" && !asterisk)) {
    return Refuse(Problem::kInvalidRequest, "the target is malformed");
  }
  target.remove_prefix(path);
  const auto offset = static_cast<std::size_t>(target.data() - line.data());
  method_ = {begin, method.size()};
  target_ = {begin + offset, target.size()};
  fields_begin_ = pos_;
  http_1_0_ = version == "HTTP/1.0";
  keep_alive_ = !http_1_0_;
  is_batch_ = method == "POST";
  state_ = State::kFields;
}

void RequestReader::TakeField(std::string_view line) {
  std::string_view name;
  std::string_view value;
  if (!SplitField(line, name, value)) {
    return Refuse(Problem::kInvalidRequest, "a header field is malformed");
  }
  TakeFramingField(name, value);
}

void RequestReader::TakeFramingField(std::string_view name, std::string_view value) {
  const Field field{name, value};
  if (Request::IsNamed(field, "content-length")) {
    if (content_length_) {
      return Refuse(Problem::kInvalidRequest, "Content-Length is given twice");
    }
    std::uint64_t length = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, length);
    if (stop != end || error == std::errc::invalid_argument) {
      return Refuse(Problem::kInvalidRequest, "Content-Length is not a decimal number");
    }
    // A number that does not fit counts as the largest one: both are over every limit.
    content_length_ = error == std::errc() ? length : SIZE_MAX;
  } else if (Request::IsNamed(field, "transfer-encoding")) {
    if (chunked_ || !EqualsIgnoreCase(value, "chunked")) {
      return Refuse(Problem::kInvalidRequest, "the only Transfer-Encoding here is chunked, once");
    }
    chunked_ = true;
  } else if (Request::IsNamed(field, "connection")) {
    close_ = close_ || HoldsToken(value, "close");
    keep_alive_ = keep_alive_ || HoldsToken(value, "keep-alive");
  } else if (Request::IsNamed(field, "expect")) {
    expects_continue_ = expects_continue_ || (!http_1_0_ && HoldsToken(value, "100-continue"));
  } else if (Request::IsNamed(field, "host")) {
    if (host_) return Refuse(Problem::kInvalidRequest, "Host is given twice");
    if (!value.empty() && !IsAuthority(value)) {
      return Refuse(Problem::kInvalidRequest, "Host is not a name or address and a port");
    }
    host_ = true;
  }
}

void RequestReader::EndHead() {
  head_end_ = end_ = pos_;
  if (!host_ && !http_1_0_) return Refuse(Problem::kInvalidRequest, "HTTP/1.1 needs a Host");
  if (chunked_ && content_length_) {
    return Refuse(Problem::kInvalidRequest, "both Content-Length and Transfer-Encoding are given");
  }
  if (chunked_ && http_1_0_) {
    return Refuse(Problem::kInvalidRequest, "HTTP/1.0 has no Transfer-Encoding");
  }
  if (chunked_) {
    state_ = State::kChunkSize;
    return;
  }
  const std::size_t limit = is_batch_ ? limits_.max_batch_bytes : limits_.max_value_bytes;
  const std::size_t length = content_length_.value_or(0);
  if (length > limit) {
    return Refuse(is_batch_ ? Problem::kBatchTooLarge : Problem::kValueTooLarge,
                  absl::StrCat("the body is over ", limit, " bytes"));
  }
  end_ += length;
  state_ = State::kBody;
}

void RequestReader::TakeChunkSize(std::string_view line) {
  std::uint64_t size = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, size, 16);
  if (error == std::errc::invalid_argument || (stop != end && *stop != ';') ||
      !IsText(line, true)) {
    return Refuse(Problem::kInvalidRequest, "a chunk size is malformed");
  }
  const std::size_t limit = is_batch_ ? limits_.max_batch_bytes : limits_.max_value_bytes;
  const std::size_t room = limit - (end_ - head_end_);
  if (error != std::errc() || size > room) {
    return Refuse(is_batch_ ? Problem::kBatchTooLarge : Problem::kValueTooLarge,
                  absl::StrCat("the body is over ", limit, " bytes"));
  }
  chunk_left_ = size;
  trailer_bytes_ = 0;
  state_ = size == 0 ? State::kTrailers : State::kChunkData;
}

void RequestReader::ReadChunks(std::string& buffer) {
  bool more = true;
  while (more && state_ < State::kComplete) {
    if (state_ == State::kChunkData) {
      const std::size_t size = std::min(chunk_left_, buffer.size() - pos_);
      std::memmove(buffer.data() + end_, buffer.data() + pos_, size);
      end_ += size;
      pos_ += size;
      chunk_left_ -= size;
      more = chunk_left_ == 0;
      if (more) state_ = State::kChunkEnd;
      continue;
    }
    scan_ = std::max(scan_, pos_);
    if (state_ == State::kChunkEnd) {
      more = buffer.size() - pos_ >= 2;
      if (!more) break;
      if (buffer.compare(pos_, 2, "\r\n") != 0) {
        Refuse(Problem::kInvalidRequest, "a chunk is longer than its size");
        break;
      }
      pos_ += 2;
      state_ = State::kChunkSize;
      continue;
    }
    const std::size_t begin = pos_;
    const bool trailers = state_ == State::kTrailers;
    const std::size_t room = trailers ? kMaxTrailerBytes - trailer_bytes_ : kMaxChunkLineBytes;
    const auto line = NextLine(buffer, pos_ + room, Problem::kInvalidRequest);
    more = line.has_value();
    if (!more) break;
    std::string_view name;
    std::string_view value;
    if (!trailers) {
      TakeChunkSize(*line);
    } else if (line->empty()) {
      state_ = State::kComplete;
    } else if (SplitField(*line, name, value)) {
      trailer_bytes_ += pos_ - begin;
    } else {
      Refuse(Problem::kInvalidRequest, "a trailer field is malformed");
    }
  }
  // Close the gap that the framing left behind the decoded bytes, so that framing does not pile up
  // in the buffer.
  const std::size_t gap = pos_ - end_;
  buffer.erase(end_, gap);
  pos_ -= gap;
  scan_ = std::max(scan_, pos_ + gap) - gap;
}

}  // namespace podmirror::rest
