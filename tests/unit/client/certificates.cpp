#include "unit/client/certificates.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <fstream>

namespace podmirror::client {
namespace {

constexpr long kDay = 24 * 3600;

// What `write` puts into a BIO.
template <typename Write>
std::string ToPem(const Write& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  REQUIRE(write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
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

// One authority is not to be taken for another because of its name.
std::string NewName() {
  static int number = 0;
  return "authority " + std::to_string(++number);
}

void PushSan(GENERAL_NAMES* sans, int kind, const std::string& text) {
  ASN1_IA5STRING* const value = ASN1_IA5STRING_new();
  REQUIRE(ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())) == 1);
  GENERAL_NAME* const san = GENERAL_NAME_new();
  GENERAL_NAME_set0_value(san, kind, value);
  REQUIRE(sk_GENERAL_NAME_push(sans, san) > 0);
}

}  // namespace

TestFiles::TestFiles() {
  std::string pattern = std::filesystem::temp_directory_path() / "podmirror-test-XXXXXX";
  REQUIRE(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

std::string TestFiles::Write(const std::string& name, const std::string& content) const {
  const std::string path = *this / name;
  std::ofstream(path + ".new", std::ios::binary) << content;
  std::filesystem::rename(path + ".new", path);
  return path;
}

Authority::Authority() : name_(NewName()), key_(MakeKey()) {
  const Certificate certificate = Begin(name_, key_.get(), kDay);
  AddExtension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  pem_ = Sign(certificate.get());
}

Authority::Key Authority::MakeKey() {
  Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  REQUIRE(key != nullptr);
  return key;
}

Authority::Certificate Authority::Begin(const std::string& common_name, EVP_PKEY* key,
                                        long valid_seconds) const {
  static long serial = 0;
  Certificate certificate(X509_new(), X509_free);
  X509* const raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(raw), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(raw), -kDay);
  X509_gmtime_adj(X509_getm_notAfter(raw), valid_seconds);
  X509_set_pubkey(raw, key);
  SetName(X509_get_subject_name(raw), common_name);
  SetName(X509_get_issuer_name(raw), name_);
  return certificate;
}

std::string Authority::Sign(X509* certificate) const {
  REQUIRE(X509_sign(certificate, key_.get(), EVP_sha256()) > 0);
  return ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

Leaf Authority::Issue(const LeafNames& names, long valid_seconds) const {
  const Key key = MakeKey();
  const Certificate certificate = Begin(names.common_name, key.get(), valid_seconds);
  AddExtension(certificate.get(), NID_basic_constraints, "CA:FALSE");
  AddExtension(certificate.get(), NID_ext_key_usage, "serverAuth,clientAuth");
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> sans(GENERAL_NAMES_new(),
                                                                           GENERAL_NAMES_free);
  for (const std::string& name : names.dns) PushSan(sans.get(), GEN_DNS, name);
  for (const std::string& uri : names.uris) PushSan(sans.get(), GEN_URI, uri);
  if (sk_GENERAL_NAME_num(sans.get()) > 0) {
    REQUIRE(X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, sans.get(), 0, 0) == 1);
  }
  return {.cert = Sign(certificate.get()),
          .key = ToPem([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace podmirror::client
