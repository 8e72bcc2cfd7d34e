// TlsStream is the server's end of TLS on a socket that does not block. It reads and writes the
// socket itself, and no more often than a plain connection would: it takes all that has come with
// one call, and does not ask again before the socket is said to be readable.
//
// A stream that brings messages of TLS itself in place of data is broken: a reader would be kept
// busy by it, and have nothing.
//
// Thread safety: one call at a time. The socket must outlive the stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "trust/certificate.h"
#include "trust/credentials.h"
#include "trust/openssl_types.h"

namespace podmirror::trust {

class TlsStream {
 public:
  enum class Io : std::uint8_t {
    kDone,     // the handshake is through; `bytes` were moved
    kBlocked,  // go on when the socket is readable or writable again
    kClosed,   // the other side has ended the stream
    kBroken,
  };
  struct Moved {
    Io io = Io::kBlocked;
    std::size_t bytes = 0;
  };

  TlsStream(std::shared_ptr<const Credentials> credentials, int fd);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // The socket may have something to read. hang_up: and nothing after it, so the end, which may
  // have come together with the last bytes, is not said again.
  void SetReadable(bool hang_up) {
    drained_ = false;
    hang_up_ = hang_up_ || hang_up;
  }
  // Before all else, until it is done.
  Io Handshake();
  bool open() const { return open_; }
  // At least one byte when it is done.
  Moved Read(std::span<char> to);
  Moved Write(std::span<const char> from);
  // Nothing is left to read before the socket is readable again. After a read.
  bool drained() const;
  // Gives back the memory for the records of a stream that has nothing to do, some 34 KiB. Calls
  // that move bytes take it again: so do this now and then, not after each of them.
  void ReleaseBuffers();
  // Tells the other side that nothing more comes. Once; it may not get there.
  void EndWriting();

  // What the client presented, believed or not; nothing when it presented none. After the
  // handshake.
  std::optional<CertificateChain> certificate() const;
  // The handshake broke because the other side speaks HTTP without TLS.
  bool spoke_http() const { return spoke_http_; }
  // The other side has sent something.
  bool heard() const { return heard_; }

 private:
  struct Socket;  // what OpenSSL reads and writes by
  using Ssl = std::unique_ptr<OpensslStream, void (*)(OpensslStream*)>;

  Io Outcome(int result);

  const std::shared_ptr<const Credentials> credentials_;
  const int fd_;
  bool drained_ = false;  // the last read from the socket took all that was there
  bool hang_up_ = false;  // after the last bytes there is the end to read
  bool ended_ = false;    // the other side has closed the socket
  bool heard_ = false;
  bool open_ = false;  // the handshake is through
  int asides_ = 0;     // what came since beside data, less the reads of data
  bool spoke_http_ = false;
  Ssl ssl_;
};

}  // namespace podmirror::trust
