#include "trust/certificate.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"

namespace podmirror::trust {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr std::size_t kMaxSubjectBytes = 1024;
// More than any chain or bundle of authorities has.
constexpr std::size_t kMaxCertificates = 1000;

std::string TextOf(const ASN1_STRING* string) {
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, string);
  if (size < 0) return {};
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  return text;
}

// A name that holds a NUL or something unprintable was made to be read in two ways: it is nobody's.
bool IsPlain(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
}

WallMs TimeOf(const ASN1_TIME* time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return 0;
  return absl::ToUnixMillis(absl::FromTM(utc, absl::UTCTimeZone()));
}

std::string Capped(std::string text, std::size_t most) {
  text.resize(std::min(text.size(), most));
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

}  // namespace

Result<CertificateChain> CertificateChain::Parse(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::vector<Certificate> certificates;
  while (certificates.size() <= kMaxCertificates) {
    X509* const next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    if (next == nullptr) break;
    certificates.emplace_back(next, X509_free);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (certificates.size() > kMaxCertificates) return Invalid("holds too many certificates");
  if (!at_end) return Invalid("holds a certificate that cannot be read");
  if (certificates.empty()) return Invalid("holds no certificate in PEM");
  return CertificateChain(std::move(certificates));
}

CertificateChain CertificateChain::Of(X509* leaf, const STACK_OF(X509) * others) {
  std::vector<Certificate> certificates;
  const auto add = [&certificates](X509* certificate) {
    X509_up_ref(certificate);
    certificates.emplace_back(certificate, X509_free);
  };
  add(leaf);
  for (int i = 0; i < sk_X509_num(others); ++i) add(sk_X509_value(others, i));
  return CertificateChain(std::move(certificates));
}

std::vector<X509*> CertificateChain::others() const {
  std::vector<X509*> others;
  for (std::size_t i = 1; i < certificates_->size(); ++i) {
    others.push_back((*certificates_)[i].get());
  }
  return others;
}

std::string CertificateChain::subject() const {
  const Bio bio(BIO_new(BIO_s_mem()), BIO_free);
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(leaf()), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return Capped(std::string(text, size > 0 ? static_cast<std::size_t>(size) : 0), kMaxSubjectBytes);
}

Names CertificateChain::names() const {
  Names names;
  const X509_NAME* subject = X509_get_subject_name(leaf());
  if (const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0) {
    // Two common names are none: readers would not agree on which one counts.
    if (X509_NAME_get_index_by_NID(subject, NID_commonName, at) < 0) {
      std::string text = TextOf(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
      const bool printable = std::all_of(text.begin(), text.end(), [](char c) {
        return absl::ascii_isprint(static_cast<unsigned char>(c));
      });
      if (printable) names.common_name = std::move(text);
    }
  }
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> all(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf(), NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type != GEN_URI && name->type != GEN_DNS) continue;
    std::string text = TextOf(name->d.ia5);
    if (!IsPlain(text)) continue;
    if (name->type == GEN_URI) {
      names.uris.push_back(std::move(text));
    } else {
      names.dns.push_back(absl::AsciiStrToLower(text));
    }
  }
  ERR_clear_error();
  return names;
}

WallMs CertificateChain::not_before() const { return TimeOf(X509_get0_notBefore(leaf())); }

WallMs CertificateChain::not_after() const { return TimeOf(X509_get0_notAfter(leaf())); }

std::vector<CertificateChain> CertificateChain::each() const {
  std::vector<CertificateChain> all;
  for (const Certificate& certificate : *certificates_) {
    all.push_back(Of(certificate.get(), nullptr));
  }
  return all;
}

Result<PrivateKey> ReadPrivateKey(const std::string& pem, const CertificateChain& chain) {
  // Nobody is there to be asked for a password.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr), EVP_PKEY_free);
  const bool fits = key != nullptr && X509_check_private_key(chain.leaf(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) return Invalid("holds no private key that can be read");
  if (!fits) return Invalid("is not the key of the certificate");
  return key;
}

std::string ToUtcText(WallMs time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(time), absl::UTCTimeZone());
}

}  // namespace podmirror::trust
