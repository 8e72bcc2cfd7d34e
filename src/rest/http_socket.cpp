#include "rest/http_socket.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace podmirror::rest {

Socket::Socket(int fd, std::unique_ptr<trust::TlsStream> tls) : fd_(fd), tls_(std::move(tls)) {}

Socket::~Socket() { close(fd_); }

void Socket::SetReadable(bool hang_up) {
  readable_ = true;
  hang_up_ = hang_up_ || hang_up;
  if (tls_) tls_->SetReadable(hang_up);
}

Socket::Io Socket::Handshake() {
  const Io io = tls_->Handshake();
  // We have nothing to send now that could carry the acknowledgement of the client's last message,
  // and some clients send their request only when they have it.
  const int on = 1;
  if (open()) setsockopt(fd_, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
  return io;
}

void Socket::SendPlain(std::string_view text) { send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }

Socket::Moved Socket::Read(std::span<char> to) {
  if (tls_) {
    const Moved moved = tls_->Read(to);
    const bool all = moved.io == Io::kDone && tls_->drained();
    if (all || moved.io == Io::kBlocked || moved.io == Io::kClosed) readable_ = false;
    return moved;
  }
  const ssize_t got = recv(fd_, to.data(), to.size(), 0);
  if (got > 0) {
    const auto bytes = static_cast<std::size_t>(got);
    // A short read has emptied the socket: the next byte brings a new event. But the end of input
    // brings no new event when it was announced already, so we must read on then.
    if (bytes < to.size() && !hang_up_) readable_ = false;
    return {Io::kDone, bytes};
  }
  if (got < 0 && errno == EINTR) return {Io::kBlocked, 0};
  readable_ = false;
  if (got == 0) return {Io::kClosed, 0};
  return {errno == EAGAIN ? Io::kBlocked : Io::kBroken, 0};
}

Socket::Moved Socket::Write(std::string_view head, std::string_view tail) {
  if (tls_) return tls_->Write(head.empty() ? tail : head);
  iovec parts[2] = {{const_cast<char*>(head.data()), head.size()},
                    {const_cast<char*>(tail.data()), tail.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = tail.empty() ? 1 : 2;
  ssize_t sent = 0;
  do {
    sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return {Io::kDone, static_cast<std::size_t>(sent)};
  return {errno == EAGAIN ? Io::kBlocked : Io::kBroken, 0};
}

void Socket::ReleaseBuffers() {
  if (tls_) tls_->ReleaseBuffers();
}

std::size_t Socket::Unacknowledged() const {
  int left = 0;
  ioctl(fd_, SIOCOUTQ, &left);
  return static_cast<std::size_t>(left);
}

void Socket::EndWriting() {
  if (tls_ && open()) tls_->EndWriting();
  shutdown(fd_, SHUT_WR);
}

ssize_t Socket::Discard(std::span<char> scratch) {
  return recv(fd_, scratch.data(), scratch.size(), 0);
}

}  // namespace podmirror::rest
