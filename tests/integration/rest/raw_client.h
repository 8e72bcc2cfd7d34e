// RawClient is a TCP client that sends the bytes it is told to, right or wrong, and reads answers.
// TlsClient (tls_client.h) is the same with TLS on it. Every wait ends after 20 s.
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace podmirror::rest {

struct RawAnswer {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;

  // The code of a problem document: "invalid-key"; empty when it is none.
  std::string problem() const;
};

class RawClient {
 public:
  // Connects to 127.0.0.1.
  explicit RawClient(std::uint16_t port);
  // False when the other side did not let it in.
  bool connected() const { return connected_; }
  virtual ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False when the other side does not take it all.
  virtual bool Send(std::string_view bytes);
  // One answer; none when the connection ended or the time was over before it was complete.
  // `has_body` is false for the answer to HEAD.
  std::optional<RawAnswer> Read(bool has_body = true);
  // Send and Read.
  std::optional<RawAnswer> Ask(std::string_view bytes);
  // Waits until `bytes` more than Read has taken have come, or some more. False when the connection
  // ended or the time was over before.
  bool Receive(std::size_t bytes);
  // Takes all up to `mark`, and with it; nothing when the connection ended or the time was over
  // before it came.
  std::optional<std::string> ReadUntil(std::string_view mark);
  // Waits until the other side has closed, with nothing more to read.
  bool Closed();
  // All that comes until the connection ends, in whatever way.
  std::string ReadAll();
  void FinishSending();
  // A fixed size, so that large answers are stuck on their way.
  void FixReceiveBuffer();
  bool HasInput() const;  // now, without waiting

 protected:
  // At least one byte; 0 at the end, below it when there was none in time or the connection broke.
  virtual ssize_t ReceiveSome(char* to, std::size_t size);
  int fd() const { return fd_; }

 private:
  bool Fill();

  const int fd_;
  bool connected_ = false;
  std::string buffer_;
};

// "METHOD target HTTP/1.1" with the given further lines (each with its CRLF) and body; a body comes
// with its Content-Length.
std::string MakeRequest(std::string_view method, std::string_view target,
                        std::string_view body = "", std::string_view lines = "");

// Resident memory of this process in bytes; always 0 under a sanitizer, which keeps freed memory.
std::int64_t ResidentBytes();

}  // namespace podmirror::rest
