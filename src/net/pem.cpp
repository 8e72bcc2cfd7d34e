#include "net/pem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace podmirror::net {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio Open(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
}

Certificate Next(BIO* bio) {
  return Certificate(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), X509_free);
}

// Nobody is there to be asked for the password of a key.
int NoPassword(char*, int, int, void*) { return -1; }

}  // namespace

Status CheckCertificates(const std::string& pem) {
  const Bio bio = Open(pem);
  int found = 0;
  while (Next(bio.get()) != nullptr) ++found;
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return Status(Code::kInvalid, "holds a certificate that cannot be read");
  if (found == 0) return Status(Code::kInvalid, "holds no certificate in PEM");
  return Status();
}

Status CheckPrivateKey(const std::string& cert_pem, const std::string& key_pem) {
  const Bio cert_bio = Open(cert_pem);
  const Certificate certificate = Next(cert_bio.get());
  const Bio key_bio = Open(key_pem);
  const Key key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, NoPassword, nullptr),
                EVP_PKEY_free);
  const bool fits = key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) return Status(Code::kInvalid, "holds no private key that can be read");
  if (!fits) return Status(Code::kInvalid, "is not the key of the certificate");
  return Status();
}

}  // namespace podmirror::net
