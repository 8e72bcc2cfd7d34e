#include "trust/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace podmirror::trust {
namespace {

// A new key now and then is usual (RFC 8446, 4.6.3); each is told in some steps.
constexpr int kMaxAsides = 100;

// Before it OpenSSL could free a buffer that it still reads from (CVE-2024-4741).
constexpr unsigned long kFreesBuffersWell = 0x300000e0;  // 3.0.14

}  // namespace

// The functions of a BIO that lies on our socket.
struct TlsStream::Socket {
  static TlsStream& Of(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int Write(BIO* bio, const char* data, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t sent = send(Of(bio).fd_, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
    return static_cast<int>(sent);
  }

  static int Read(BIO* bio, char* to, int size) {
    TlsStream& stream = Of(bio);
    BIO_clear_retry_flags(bio);
    if (stream.asides_ > kMaxAsides) return -1;
    if (stream.drained_) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const ssize_t got = recv(stream.fd_, to, static_cast<std::size_t>(size), 0);
    stream.ended_ = got == 0;
    stream.heard_ = stream.heard_ || got > 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      stream.drained_ = errno == EAGAIN;
      BIO_set_retry_read(bio);
    } else if (got > 0 && got < size) {
      stream.drained_ = !stream.hang_up_;
    }
    return static_cast<int>(got);
  }

  // OpenSSL calls it for each step of a handshake, and of what comes later that is no data: new
  // keys, alerts, handshakes that we do not want.
  static void CountAside(const SSL* ssl, int /*what*/, int /*result*/) {
    auto& stream = *static_cast<TlsStream*>(SSL_get_app_data(ssl));
    if (stream.open_) ++stream.asides_;
  }

  static long Control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return Of(bio).ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO_METHOD* Method() {
    static BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
      BIO_meth_set_write(made, Write);
      BIO_meth_set_read(made, Read);
      BIO_meth_set_ctrl(made, Control);
      return made;
    }();
    return method;
  }
};

TlsStream::TlsStream(std::shared_ptr<const Credentials> credentials, int fd)
    : credentials_(std::move(credentials)),
      fd_(fd),
      ssl_(SSL_new(credentials_->http_server()), SSL_free) {
  BIO* const bio = BIO_new(Socket::Method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  // Else OpenSSL would read each record in two calls: its head, then the rest.
  SSL_set_read_ahead(ssl_.get(), 1);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_info_callback(ssl_.get(), Socket::CountAside);
  SSL_set_accept_state(ssl_.get());
}

TlsStream::~TlsStream() = default;

TlsStream::Io TlsStream::Outcome(int result) {
  const int error = SSL_get_error(ssl_.get(), result);
  Io io = Io::kBroken;
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    io = Io::kBlocked;
  } else if (error == SSL_ERROR_ZERO_RETURN) {
    io = Io::kClosed;
  } else {
    spoke_http_ = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
  }
  ERR_clear_error();
  return io;
}

TlsStream::Io TlsStream::Handshake() {
  const int result = SSL_do_handshake(ssl_.get());
  open_ = result == 1;
  return open_ ? Io::kDone : Outcome(result);
}

TlsStream::Moved TlsStream::Read(std::span<char> to) {
  std::size_t bytes = 0;
  const int result = SSL_read_ex(ssl_.get(), to.data(), to.size(), &bytes);
  if (result == 1) {
    asides_ = std::max(asides_ - 1, 0);
    return {Io::kDone, bytes};
  }
  return {Outcome(result), 0};
}

TlsStream::Moved TlsStream::Write(std::span<const char> from) {
  std::size_t bytes = 0;
  const int result = SSL_write_ex(ssl_.get(), from.data(), from.size(), &bytes);
  if (result == 1) return {Io::kDone, bytes};
  return {Outcome(result), 0};
}

bool TlsStream::drained() const { return drained_ && SSL_has_pending(ssl_.get()) == 0; }

void TlsStream::ReleaseBuffers() {
  static const bool may = OpenSSL_version_num() >= kFreesBuffersWell;
  if (may && SSL_has_pending(ssl_.get()) == 0) SSL_free_buffers(ssl_.get());
}

void TlsStream::EndWriting() {
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

std::optional<CertificateChain> TlsStream::certificate() const {
  // Of a server this is the whole chain but for the client's own certificate.
  const std::unique_ptr<X509, void (*)(X509*)> leaf(SSL_get1_peer_certificate(ssl_.get()),
                                                    X509_free);
  if (leaf == nullptr) return std::nullopt;
  return CertificateChain::Of(leaf.get(), SSL_get_peer_cert_chain(ssl_.get()));
}

}  // namespace podmirror::trust
