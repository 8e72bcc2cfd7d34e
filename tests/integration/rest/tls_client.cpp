#include "tls_client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <array>

namespace podmirror::rest {
namespace {

template <typename T, typename Read, typename Free>
std::unique_ptr<T, Free> FromPem(const std::string& pem, Read read, Free free) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return {read(bio.get(), nullptr, nullptr, nullptr), free};
}

}  // namespace

TlsClient::Context TlsClient::NewContext(const TlsClientOptions& options) {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), options.version);
  SSL_CTX_set_max_proto_version(context.get(), options.version);
  if (options.leaf != nullptr) {
    const auto certificate = FromPem<X509>(options.leaf->cert, PEM_read_bio_X509, X509_free);
    const auto key = FromPem<EVP_PKEY>(options.leaf->key, PEM_read_bio_PrivateKey, EVP_PKEY_free);
    SSL_CTX_use_certificate(context.get(), certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), key.get());
    for (int i = 1; i < options.times; ++i) {
      SSL_CTX_add1_chain_cert(context.get(), certificate.get());
    }
  }
  return context;
}

TlsClient::Stream TlsClient::NewStream(SSL_CTX* context) {
  Stream stream(SSL_new(context), SSL_free);
  SSL_set_bio(stream.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(stream.get());
  return stream;
}

std::string TlsClient::TakeOutput(SSL* stream) {
  BIO* const bio = SSL_get_wbio(stream);
  std::string bytes(BIO_ctrl_pending(bio), '\0');
  if (!bytes.empty()) BIO_read(bio, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

std::string TlsClient::NewKeys(int times) {
  for (int i = 0; i < times; ++i) {
    SSL_key_update(stream_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
    SSL_do_handshake(stream_.get());
  }
  return TakeOutput(stream_.get());
}

std::string TlsClient::FirstMessage() {
  const Context context = NewContext({});
  const Stream stream = NewStream(context.get());
  SSL_do_handshake(stream.get());
  ERR_clear_error();
  return TakeOutput(stream.get());
}

TlsClient::TlsClient(std::uint16_t port, const TlsClientOptions& options)
    : RawClient(port), context_(NewContext(options)), stream_(NewStream(context_.get())) {
  const int on = 1;
  setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  open_ = connected() && Handshake(options.halfway);
}

bool TlsClient::Handshake(const std::function<void()>& halfway) {
  int result = SSL_do_handshake(stream_.get());
  if (halfway) {
    const std::string message = TakeOutput(stream_.get());
    const std::size_t half = message.size() / 2;
    SendRaw(std::string_view(message).substr(0, half));
    halfway();
    SendRaw(std::string_view(message).substr(half));
  }
  while (SendRaw(TakeOutput(stream_.get())) && result != 1) {
    if (SSL_get_error(stream_.get(), result) != SSL_ERROR_WANT_READ || !Feed()) break;
    result = SSL_do_handshake(stream_.get());
  }
  ERR_clear_error();
  return result == 1;
}

bool TlsClient::Feed() {
  std::array<char, 16 * 1024> chunk;
  const ssize_t got = RawClient::ReceiveSome(chunk.data(), chunk.size());
  if (got <= 0) return false;
  BIO_write(SSL_get_rbio(stream_.get()), chunk.data(), static_cast<int>(got));
  return true;
}

std::string TlsClient::server() const {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      SSL_get1_peer_certificate(stream_.get()), X509_free);
  if (certificate == nullptr) return {};
  std::array<char, 100> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name.data(),
                            static_cast<int>(name.size()));
  return name.data();
}

std::string TlsClient::Seal(std::string_view bytes) {
  std::size_t taken = 0;
  SSL_write_ex(stream_.get(), bytes.data(), bytes.size(), &taken);
  ERR_clear_error();
  return TakeOutput(stream_.get());
}

bool TlsClient::Send(std::string_view bytes) {
  const std::string records = Seal(bytes);
  return !records.empty() && SendRaw(records);
}

ssize_t TlsClient::ReceiveSome(char* to, std::size_t size) {
  for (;;) {
    std::size_t bytes = 0;
    const int result = SSL_read_ex(stream_.get(), to, size, &bytes);
    if (result == 1) return static_cast<ssize_t>(bytes);
    const int error = SSL_get_error(stream_.get(), result);
    ERR_clear_error();
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error != SSL_ERROR_WANT_READ || !Feed()) return -1;
  }
}

}  // namespace podmirror::rest
