// Certificates made for a test: authorities, and what they sign.
#pragma once

#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace podmirror::testing {

// A directory of its own, removed at the end.
class TestDir {
 public:
  TestDir();
  ~TestDir() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Replaces the file as a whole, as a kubelet does. Returns its path.
  std::string Write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

// Keys are on P-256.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);

  struct Leaf {
    std::string cert, key;  // PEM
  };
  struct Wanted {
    std::string common_name;
    std::string names = "IP:127.0.0.1,IP:::1";  // as OpenSSL has them; empty: none
    // More of them, whose bytes OpenSSL's form cannot say.
    std::vector<std::string> dns{};
    std::vector<std::string> uris{};
    std::string usage = "serverAuth,clientAuth";
    long from_s = -24 * 3600;  // validity, seconds from now on
    long until_s = 24 * 3600;
  };
  Leaf IssueFor(const Wanted& wanted) const;
  Leaf Issue(const std::string& common_name) const {
    return IssueFor({.common_name = common_name});
  }
  const std::string& pem() const { return pem_; }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  static Key MakeKey();
  Certificate Sign(const Wanted& wanted, EVP_PKEY* key, bool authority) const;

  const std::string name_;
  const Key key_;
  const std::string pem_;
};

}  // namespace podmirror::testing
