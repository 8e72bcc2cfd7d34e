// Credentials are what this process proves itself with, its certificate and key, and whom it
// believes: the authorities, and which of the certificates that they have signed are peers'. They
// are checked as a whole before they are used, and never change: when the files do, there is a new
// one (keyring.h).
// Thread safety: immutable; all calls from any thread.
// Invariants: (1) the key is that of the certificate, and both could be loaded into a TLS context.
//             (2) when they were made, the certificate was valid.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "trust/certificate.h"
#include "trust/name_pattern.h"
#include "trust/openssl_types.h"

namespace podmirror::trust {

// The files' names, or what they hold.
struct PemFiles {
  std::string cert;  // our own chain
  std::string key;   // its private key
  std::string ca;    // who may sign peers and clients; empty: nobody

  friend bool operator==(const PemFiles&, const PemFiles&) = default;
};

class Credentials {
 public:
  // What the other side of a connection wants to be.
  enum class Use : std::uint8_t { kClient, kServer };

  // pem: what the files hold. peers: which certificates are peers'; empty: those that carry a name
  // that our own carries. number: tells these from the ones before. kInvalid names the setting,
  // tls-cert, tls-key or tls-ca, and never shows what a file holds.
  static Result<std::shared_ptr<const Credentials>> Check(PemFiles pem,
                                                          std::vector<NamePattern> peers,
                                                          std::uint64_t number, WallMs now);

  const PemFiles& pem() const { return pem_; }
  const CertificateChain& own() const { return own_; }
  // Empty: nobody is believed.
  const std::optional<CertificateChain>& authorities() const { return authorities_; }
  std::uint64_t number() const { return number_; }

  // Whether an authority has signed `chain` for this use, and it is valid at `now`. Without `now`
  // its dates do not count: a connection outlives the certificate that opened it. kRefused says
  // what is wrong, for people.
  Status Verify(const CertificateChain& chain, Use use, std::optional<WallMs> now) const;

  // Whether a certificate with these names, if Verify believes it, is a peer's.
  bool IsPeer(const Names& names) const { return MatchesAny(peers_, names); }
  const std::vector<NamePattern>& peers() const { return peers_; }

  // For serving HTTP/1.1: TLS 1.2 and 1.3, no resumption. A client is asked for a certificate when
  // there are authorities; the handshake takes any, so that a wrong one can be told what is wrong.
  OpensslContext* http_server() const { return http_server_.get(); }

 private:
  using Context = std::unique_ptr<OpensslContext, void (*)(OpensslContext*)>;
  using Store = std::unique_ptr<OpensslStore, void (*)(OpensslStore*)>;

  Credentials(PemFiles pem, CertificateChain own, std::optional<CertificateChain> authorities,
              std::vector<NamePattern> peers, std::uint64_t number);
  Status MakeContext(OpensslKey& key);

  const PemFiles pem_;
  const CertificateChain own_;
  const std::optional<CertificateChain> authorities_;
  const std::vector<NamePattern> peers_;
  const std::uint64_t number_;
  const Store store_;
  Context http_server_;
};

}  // namespace podmirror::trust
