// Socket is a client's socket, plain or with TLS on it: a connection does not need to know.
// Thread safety: reading (SetReadable, Handshake, Read, Discard) by one thread, the worker's;
// writing by one thread at a time, and not while the worker reads.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "trust/tls_stream.h"

namespace podmirror::rest {

class Socket {
 public:
  using Io = trust::TlsStream::Io;
  using Moved = trust::TlsStream::Moved;

  // Takes over `fd`, which does not block. tls: null for a plain one.
  Socket(int fd, std::unique_ptr<trust::TlsStream> tls);
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const { return fd_; }
  const trust::TlsStream* tls() const { return tls_.get(); }

  // Something has come. hang_up: and it is the last, so the end has no event of its own.
  void SetReadable(bool hang_up);
  // Read may find something.
  bool readable() const { return readable_; }

  // Whether bytes can be moved. Until it is, call Handshake after each event.
  bool open() const { return tls_ == nullptr || tls_->open(); }
  Io Handshake();

  // kDone: at least one byte was read.
  Moved Read(std::span<char> to);
  // Writes `head`, then `tail`, as much as the socket takes at once. kDone: at least one byte.
  Moved Write(std::string_view head, std::string_view tail);
  // Bytes that were written and the client's side has not acknowledged.
  std::size_t Unacknowledged() const;

  // Gives back memory that an idle socket does not need. Now and then, as it is soon taken again.
  void ReleaseBuffers();

  // Tells the client that no more comes, and goes on taking what it sends.
  void EndWriting();
  // Sends a short text past TLS, as far as it goes at once: the client does not speak it.
  void SendPlain(std::string_view text);
  // Reads and throws away; as recv.
  ssize_t Discard(std::span<char> scratch);

 private:
  const int fd_;
  const std::unique_ptr<trust::TlsStream> tls_;
  bool readable_ = false;
  bool hang_up_ = false;
};

}  // namespace podmirror::rest
