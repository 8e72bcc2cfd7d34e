// Certificates made for a test: authorities, and leaves for etcd on loopback and for its clients.
#pragma once

#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <string>

namespace podmirror::discovery {

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

// Keys are on P-256; everything is valid from yesterday till tomorrow.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);

  struct Leaf {
    std::string cert, key;  // PEM
  };
  // For 127.0.0.1 and ::1, to be used on both sides of a connection.
  Leaf Issue(const std::string& name) const;
  const std::string& pem() const { return pem_; }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  static Key MakeKey();
  Certificate Sign(const std::string& name, EVP_PKEY* key, const char* alternative_names) const;

  const std::string name_;
  const Key key_;
  const std::string pem_;
};

}  // namespace podmirror::discovery
