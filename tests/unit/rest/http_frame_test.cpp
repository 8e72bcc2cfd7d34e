#include "rest/http_frame.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace podmirror::rest {
namespace {

constexpr BodyLimits kLimits{.max_value_bytes = 64, .max_batch_bytes = 256};

// Everything that a stream of bytes led to, as text: one line per request, without the "Host: h"
// that each of HTTP/1.1 needs, then how it ended.
std::string Outcome(const std::vector<std::string>& reads) {
  RequestReader reader(kLimits);
  std::string buffer;
  std::string outcome;
  for (const std::string& read : reads) {
    buffer += read;
    FrameState state = reader.Read(buffer);
    while (state == FrameState::kComplete) {
      const Request& request = reader.request(buffer);
      outcome += std::string(request.method) + " " + std::string(request.target);
      for (const Field& field : request.fields) {
        if (field.name == "Host" && field.value == "h") continue;
        outcome += " [" + std::string(field.name) + "=" + std::string(field.value) + "]";
      }
      outcome += " <" + std::string(request.body) + ">";
      outcome += request.keep_alive ? " keep\n" : " close\n";
      reader.Consume(buffer);
      state = reader.Read(buffer);
    }
    if (state == FrameState::kRefused) {
      return outcome + "refused " + std::to_string(ProblemResponse(reader.refusal()).status) +
             ": " + reader.refusal().detail;
    }
  }
  return outcome + (buffer.empty() ? "end" : "incomplete");
}

struct Example {
  std::string bytes;
  std::string outcome;
};

const std::vector<Example>& Examples() {
  static const std::vector<Example> examples = {
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / <> keep\nend"},
      {"GET /a?b HTTP/1.1\r\nHost: h\r\nX:\t y \r\n\r\n", "GET /a?b [X=y] <> keep\nend"},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / <> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na\r\n",
       "PUT / [Content-Length=1] <a> keep\nend"},
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n\r", "GET / <> keep\nincomplete"},
      {"GET / HTTP/1.0\r\n\r\n", "GET / <> close\nend"},
      {"GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n",
       "GET / [connection=Keep-Alive] <> keep\nend"},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n",
       "GET / [Connection=x, Close] <> close\nend"},
      {"GET http://h:1/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a <> keep\nend"},
      {"GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * <> keep\nend"},
      {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET a HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET https://h:1/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a <> keep\nend"},
      {"GET https:///a HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET http://h:1?b=/a HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET http://u@h/a HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET http://[::1]:1/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a <> keep\nend"},
      {"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"GET /\xc3\xa4#f HTTP/1.1\r\nHost: h\r\n\r\n", "GET /\xc3\xa4#f <> keep\nend"},
      {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the target is malformed"},
      {"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", "refused 400: the method is malformed"},
      {"GET /\r\n\r\n", "refused 400: the request line is not METHOD TARGET VERSION"},
      {"GET / HTTP/1.2\r\n\r\n", "refused 400: only HTTP/1.1 and HTTP/1.0 are spoken here"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
       "refused 400: only HTTP/1.1 and HTTP/1.0 are spoken here"},
      {"GET / HTTP/1.1\n\n", "refused 400: a line does not end with CR LF"},
      {"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", "refused 400: a header field is malformed"},
      {"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", "refused 400: a header field is malformed"},
      {"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
       "refused 400: a header field is malformed"},
      {"GET / HTTP/1.1\r\nHost: h\r\nnothing\r\n\r\n", "refused 400: a header field is malformed"},
      {std::string("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 36),
       "refused 400: a header field is malformed"},
      // Host: once, and a name or an address; HTTP/1.0 may do without.
      {"GET / HTTP/1.1\r\n\r\n", "refused 400: HTTP/1.1 needs a Host"},
      {"GET http://h/ HTTP/1.1\r\n\r\n", "refused 400: HTTP/1.1 needs a Host"},
      {"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", "refused 400: Host is given twice"},
      {"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", "refused 400: Host is given twice"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / [Host=] <> keep\nend"},
      {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / [Host=[::1]:80] <> keep\nend"},
      {"GET / HTTP/1.1\r\nHost: a.b_c-d:\r\n\r\n", "GET / [Host=a.b_c-d:] <> keep\nend"},
      {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
       "refused 400: Host is not a name or address and a port"},
      {"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
       "refused 400: Host is not a name or address and a port"},
      {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
       "refused 400: Host is not a name or address and a port"},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
       "refused 400: Host is not a name or address and a port"},
      {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
       "refused 400: Host is not a name or address and a port"},
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
       "GET / <> keep\nrefused 400: HTTP/1.1 needs a Host"},
      // Bodies by length.
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
       "PUT / [Content-Length=3] <abc> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\n\r\n", "PUT / <> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabc", "incomplete"},
      {"PUT /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\naGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
       "PUT /1 [Content-Length=1] <a> keep\nGET /2 <> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
       "refused 400: Content-Length is given twice"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na",
       "refused 400: Content-Length is not a decimal number"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na",
       "refused 400: Content-Length is not a decimal number"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\na",
       "refused 400: Content-Length is not a decimal number"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\na",
       "refused 400: Content-Length is not a decimal number"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 65\r\n\r\n",
       "refused 413: the body is over 64 bytes"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
       "refused 413: the body is over 64 bytes"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65\r\n\r\n", "incomplete"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 257\r\n\r\n",
       "refused 413: the body is over 256 bytes"},
      // Chunked bodies.
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
       "Chunked\r\n\r\n3\r\nabc\r\n02;x=y\r\nde\r\n0\r\n\r\n",
       "PUT / [Transfer-Encoding=Chunked] <abcde> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: "
       "t\r\n\r\nGET /2 "
       "HTTP/1.1\r\nHost: h\r\n\r\n",
       "PUT / [Transfer-Encoding=chunked] <a> keep\nGET /2 <> keep\nend"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
       "refused 400: a trailer field is malformed"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
       "refused 400: a chunk is longer than its size"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
       "refused 400: a chunk size is malformed"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
       "refused 400: a chunk size is malformed"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
       "refused 400: a chunk size is malformed"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\n",
       "refused 400: a line does not end with CR LF"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(2000, '0'),
       "refused 400: a line of the chunked body is too long"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" +
           std::string(64, 'a') + "\r\n1\r\n",
       "refused 413: the body is over 64 bytes"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
       "refused 413: the body is over 64 bytes"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
       "refused 400: both Content-Length and Transfer-Encoding are given"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
       "refused 400: the only Transfer-Encoding here is chunked, once"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
       "chunked\r\n\r\n",
       "refused 400: the only Transfer-Encoding here is chunked, once"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
       "refused 400: the only Transfer-Encoding here is chunked, once"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0b"
       "chunked\r\n\r\n",
       "refused 400: a header field is malformed"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n",
       "refused 400: the only Transfer-Encoding here is chunked, once"},
      {"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
       "refused 400: HTTP/1.0 has no Transfer-Encoding"},
  };
  return examples;
}

TEST_CASE("framing: each stream of bytes has one outcome, however it is split") {
  for (const Example& example : Examples()) {
    const std::string& bytes = example.bytes;
    CAPTURE(bytes);
    CHECK(Outcome({bytes}) == example.outcome);
    for (std::size_t at = 1; at < bytes.size(); ++at) {
      CAPTURE(at);
      REQUIRE(Outcome({bytes.substr(0, at), bytes.substr(at)}) == example.outcome);
    }
    std::vector<std::string> single;
    for (const char c : bytes) single.emplace_back(1, c);
    CHECK(Outcome(single) == example.outcome);
  }
}

TEST_CASE("framing: a head is at most 16 KiB, whatever it is made of") {
  const std::string refused = "refused 431: the head is over 16384 bytes";
  const std::string start = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
  const std::size_t room = kMaxHeadBytes - start.size() - 4;
  CHECK(Outcome({start + std::string(room, 'a') + "\r\n\r\n"}).ends_with("keep\nend"));
  CHECK(Outcome({start + std::string(room + 1, 'a') + "\r\n\r\n"}) == refused);
  CHECK(Outcome({"GET /" + std::string(kMaxHeadBytes, 'a')}) == refused);
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  while (many.size() <= kMaxHeadBytes) many += "A: b\r\n";
  CHECK(Outcome({many}) == refused);
  std::string blank;
  while (blank.size() <= kMaxHeadBytes) blank += "\r\n";
  CHECK(Outcome({blank}) == refused);
}

TEST_CASE("framing: chunk framing is not kept in memory") {
  RequestReader reader({.max_value_bytes = 1000, .max_batch_bytes = 1000});
  std::string buffer = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::size_t head = buffer.size();
  for (int i = 0; i < 1000; ++i) {
    buffer += "0000000001;extension\r\na\r\n";
    REQUIRE(reader.Read(buffer) == FrameState::kIncomplete);
    REQUIRE(buffer.size() == head + static_cast<std::size_t>(i) + 1);
  }
}

TEST_CASE("framing: a request is HEAD as soon as its method is there") {
  CHECK(RequestReader::is_head("HEAD "));
  CHECK(RequestReader::is_head("HEAD / HTTP/1.1\r\n"));
  for (const char* other : {"", "HEAD", "HEADS / HTTP/1.1\r\n", "head / HTTP/1.1\r\n", "GET "}) {
    CHECK_FALSE(RequestReader::is_head(other));
  }
}

TEST_CASE("framing: a client that waits for 100 Continue is told once, before its body") {
  const std::string head =
      "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  RequestReader reader(kLimits);
  std::string buffer = head.substr(0, head.size() - 1);
  CHECK(reader.Read(buffer) == FrameState::kIncomplete);
  CHECK_FALSE(reader.TakeContinue());
  buffer += "\n";
  CHECK(reader.Read(buffer) == FrameState::kIncomplete);
  CHECK(reader.TakeContinue());
  CHECK_FALSE(reader.TakeContinue());

  // Not when the body came along, nor when it is too large to be wanted.
  RequestReader eager(kLimits);
  buffer = head + "ab";
  CHECK(eager.Read(buffer) == FrameState::kComplete);
  CHECK_FALSE(eager.TakeContinue());
  RequestReader large(kLimits);
  buffer = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n";
  CHECK(large.Read(buffer) == FrameState::kRefused);
  CHECK_FALSE(large.TakeContinue());
}

}  // namespace
}  // namespace podmirror::rest
