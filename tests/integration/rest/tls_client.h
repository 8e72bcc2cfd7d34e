// TlsClient is a RawClient with TLS on it: what is sent in one call goes as one record, and what
// goes over the wire can be had as bytes. It believes any server. Thread safety: none.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "certs/test_certs.h"
#include "raw_client.h"

namespace podmirror::rest {

struct TlsClientOptions {
  int version = TLS1_3_VERSION;
  // What it presents; null: nothing.
  const testing::TestAuthority::Leaf* leaf = nullptr;
  int times = 1;  // how often it presents that
  // Called when the server has half of the first message.
  std::function<void()> halfway = {};
};

class TlsClient final : public RawClient {
 public:
  // Connects and shakes hands.
  explicit TlsClient(std::uint16_t port, const TlsClientOptions& options = {});
  // Whether the handshake went well.
  bool open() const { return open_; }
  // The common name of the server's certificate.
  std::string server() const;

  // At most 16 KiB: one record. More: as many as it takes.
  bool Send(std::string_view bytes) override;
  // Records that hold `bytes`, to be sent by SendRaw; nothing without a handshake.
  std::string Seal(std::string_view bytes);
  // Records that tell of a new key, so many times. Only of TLS 1.3.
  std::string NewKeys(int times);
  bool SendRaw(std::string_view bytes) { return RawClient::Send(bytes); }

  // The first message of a handshake.
  static std::string FirstMessage();

 protected:
  // 0: the server has said that nothing more comes. A connection that just ends is broken.
  ssize_t ReceiveSome(char* to, std::size_t size) override;

 private:
  using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
  using Stream = std::unique_ptr<SSL, decltype(&SSL_free)>;

  static Context NewContext(const TlsClientOptions& options);
  // On two buffers, in and out.
  static Stream NewStream(SSL_CTX* context);
  static std::string TakeOutput(SSL* stream);
  bool Handshake(const std::function<void()>& halfway);
  // Waits for more from the wire.
  bool Feed();

  const Context context_;
  const Stream stream_;
  bool open_ = false;
};

}  // namespace podmirror::rest
