// A keyring made for a test, and the files that it reads: in a folder of its own, replaced one by
// one as the test says.
// Thread safety: as trust::Keyring; what replaces files, from one thread.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "certs/test_certs.h"
#include "trust/keyring.h"

namespace podmirror::testing {

class TestKeyring {
 public:
  // peers: as tls-peers has them.
  TestKeyring(const TestAuthority& authority, const TestAuthority::Leaf& leaf,
              const std::vector<std::string>& peers = {}) {
    Write(leaf);
    dir_.Write("ca.crt", authority.pem());
    auto patterns = trust::ParseNamePatterns(peers);
    REQUIRE(patterns.ok());
    auto opened = trust::Keyring::New({dir_ / "tls.crt", dir_ / "tls.key", dir_ / "ca.crt"},
                                      std::move(*patterns), Env::Real());
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    keyring_ = std::move(*opened);
  }

  // Replaces the pair, or the authorities, and looks.
  trust::Looked Replace(const TestAuthority::Leaf& leaf) {
    Write(leaf);
    return keyring_->Look();
  }
  trust::Looked ReplaceAuthorities(const std::string& pem) {
    dir_.Write("ca.crt", pem);
    return keyring_->Look();
  }

  const trust::Keyring* get() const { return keyring_.get(); }

 private:
  void Write(const TestAuthority::Leaf& leaf) const {
    dir_.Write("tls.crt", leaf.cert);
    dir_.Write("tls.key", leaf.key);
  }

  TestDir dir_;
  std::unique_ptr<trust::Keyring> keyring_;
};

}  // namespace podmirror::testing
