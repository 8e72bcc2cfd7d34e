#include "certs/test_certs.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <fstream>

namespace podmirror::testing {
namespace {

// What `write` puts into a BIO.
template <typename Write>
std::string ToPem(const Write& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  REQUIRE(write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

std::string ToPem(X509* certificate) {
  return ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void SetName(X509_NAME* target, const std::string& name) {
  REQUIRE(X509_NAME_add_entry_by_txt(target, "CN", MBSTRING_ASC,
                                     reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                                     0) == 1);
}

void AddExtension(X509* certificate, int kind, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
  REQUIRE(extension != nullptr);
  REQUIRE(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

using Names = std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)>;

void AddNames(GENERAL_NAMES* names, int kind, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    ASN1_IA5STRING* const value = ASN1_IA5STRING_new();
    REQUIRE(ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())) == 1);
    GENERAL_NAME* const name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, kind, value);
    REQUIRE(sk_GENERAL_NAME_push(names, name) > 0);
  }
}

// The names that OpenSSL reads from `text`, "" for none.
Names ParseNames(const std::string& text) {
  if (text.empty()) return {GENERAL_NAMES_new(), GENERAL_NAMES_free};
  X509_EXTENSION* extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, text.c_str());
  REQUIRE(extension != nullptr);
  Names names(static_cast<GENERAL_NAMES*>(X509V3_EXT_d2i(extension)), GENERAL_NAMES_free);
  X509_EXTENSION_free(extension);
  return names;
}

}  // namespace

TestDir::TestDir() {
  std::string pattern = std::filesystem::temp_directory_path() / "podmirror-test-XXXXXX";
  REQUIRE(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

std::string TestDir::Write(const std::string& name, const std::string& content) const {
  const std::string path = *this / name;
  std::ofstream(path + ".new", std::ios::binary) << content;
  std::filesystem::rename(path + ".new", path);
  return path;
}

TestAuthority::TestAuthority(const std::string& name)
    : name_(name),
      key_(MakeKey()),
      pem_(ToPem(Sign({.common_name = name, .names = ""}, key_.get(), true).get())) {}

TestAuthority::Key TestAuthority::MakeKey() {
  Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  REQUIRE(key != nullptr);
  return key;
}

TestAuthority::Certificate TestAuthority::Sign(const Wanted& wanted, EVP_PKEY* key,
                                               bool authority) const {
  static long serial = 0;
  Certificate certificate(X509_new(), X509_free);
  X509* const raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(raw), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(raw), wanted.from_s);
  X509_gmtime_adj(X509_getm_notAfter(raw), wanted.until_s);
  X509_set_pubkey(raw, key);
  SetName(X509_get_subject_name(raw), wanted.common_name);
  SetName(X509_get_issuer_name(raw), name_);
  AddExtension(raw, NID_basic_constraints, authority ? "CA:TRUE" : "CA:FALSE");
  const Names names = ParseNames(wanted.names);
  AddNames(names.get(), GEN_DNS, wanted.dns);
  AddNames(names.get(), GEN_URI, wanted.uris);
  if (sk_GENERAL_NAME_num(names.get()) > 0) {
    REQUIRE(X509_add1_ext_i2d(raw, NID_subject_alt_name, names.get(), 0, 0) == 1);
  }
  if (!authority) AddExtension(raw, NID_ext_key_usage, wanted.usage.c_str());
  REQUIRE(X509_sign(raw, key_.get(), EVP_sha256()) > 0);
  return certificate;
}

TestAuthority::Leaf TestAuthority::IssueFor(const Wanted& wanted) const {
  const Key key = MakeKey();
  return {.cert = ToPem(Sign(wanted, key.get(), false).get()),
          .key = ToPem([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace podmirror::testing
