// Certificates made for a test, and a place for them: authorities, and leaves with any names and
// any time.
// Thread safety: one test thread.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace podmirror::client {

// A directory of its own, removed at the end.
class TestFiles {
 public:
  TestFiles();
  ~TestFiles() { std::filesystem::remove_all(path_); }
  TestFiles(const TestFiles&) = delete;
  TestFiles& operator=(const TestFiles&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Replaces the file as a whole, as a kubelet does. Returns its path.
  std::string Write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

struct Leaf {
  std::string cert, key;  // PEM
};

// What a leaf says; the names may be any bytes.
struct LeafNames {
  std::vector<std::string> dns{};
  std::vector<std::string> uris{};
  std::string common_name = "leaf";
};

// Keys are on P-256; an authority is valid from yesterday till tomorrow.
class Authority {
 public:
  Authority();

  // For both sides of a connection, valid from yesterday until `valid_seconds` from now.
  Leaf Issue(const LeafNames& names, long valid_seconds = 24 * 3600) const;
  const std::string& pem() const { return pem_; }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  static Key MakeKey();
  Certificate Begin(const std::string& common_name, EVP_PKEY* key, long valid_seconds) const;
  std::string Sign(X509* certificate) const;

  const std::string name_;
  const Key key_;
  std::string pem_;
};

}  // namespace podmirror::client
