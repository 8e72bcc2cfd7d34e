#include "client/daemon_names.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "net/address.h"

namespace podmirror::client {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Sans = std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)>;

constexpr char kAny[] = "*";
constexpr char kScheme[] = "://";
// Enough to see what a certificate is; the text ends up in an error of 200 bytes.
constexpr std::size_t kNamesTold = 3;

bool IsUri(const std::string& name) { return absl::StrContains(name, kScheme); }

// The parts that a "*" may stand for: labels, or what is between the slashes of a URI.
std::vector<std::string> PartsOf(const std::string& name) {
  return absl::StrSplit(name, IsUri(name) ? '/' : '.');
}

bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isgraph(c); });
}

Status CheckName(const std::string& name) {
  const auto wrong = [&name](const std::string& why) {
    return Invalid("tls.names: \"" + name + "\" " + why);
  };
  if (name.empty() || !IsPrintable(name)) return wrong("is no DNS name or URI");
  const std::vector<std::string> parts = PartsOf(name);
  const bool uri = IsUri(name);
  if (uri && (parts.size() < 3 || parts[0].size() < 2 || !parts[1].empty() || parts[2].empty())) {
    return wrong("is no URI");
  }
  bool any_fixed = uri;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool any = parts[i] == kAny;
    if (uri && any && i < 3) return wrong("has a * outside of its path");
    if (!uri && parts[i].empty()) return wrong("has an empty label");
    if (!any && absl::StrContains(parts[i], kAny)) {
      return wrong("has a * that is not a whole label or segment");
    }
    any_fixed = any_fixed || !any;
  }
  // Such a name would say no more than that some authority has signed something.
  if (!any_fixed) return wrong("would be carried by everybody");
  return {};
}

// Whether a certificate's name is what `wanted` says.
bool Matches(const std::string& name, const std::string& wanted) {
  if (IsUri(name) != IsUri(wanted)) return false;
  const std::vector<std::string> parts = PartsOf(name);
  const std::vector<std::string> wanted_parts = PartsOf(wanted);
  const bool uri = IsUri(wanted);
  return std::equal(parts.begin(), parts.end(), wanted_parts.begin(), wanted_parts.end(),
                    [uri](const std::string& part, const std::string& want) {
                      if (want == kAny) return !part.empty();
                      return uri ? part == want : absl::EqualsIgnoreCase(part, want);
                    });
}

// The DNS names and URIs of a certificate. gRPC hands them out too, but as C strings: a name with a
// NUL in it would end there and look like another one.
std::vector<std::string> NamesOf(X509* certificate) {
  const Sans sans(static_cast<GENERAL_NAMES*>(
                      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
                  GENERAL_NAMES_free);
  std::vector<std::string> names;
  for (int i = 0; i < sk_GENERAL_NAME_num(sans.get()); ++i) {
    const GENERAL_NAME* san = sk_GENERAL_NAME_value(sans.get(), i);
    if (san->type != GEN_DNS && san->type != GEN_URI) continue;
    const ASN1_IA5STRING* text = san->d.ia5;
    std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                     static_cast<std::size_t>(ASN1_STRING_length(text)));
    // A DNS name that looks like a URI is neither.
    if (IsPrintable(name) && IsUri(name) == (san->type == GEN_URI))
      names.push_back(std::move(name));
  }
  return names;
}

std::string Told(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  const std::size_t told = std::min(names.size(), kNamesTold);
  return absl::StrJoin(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(told), ", ") +
         (told < names.size() ? ", ..." : "");
}

}  // namespace

Result<DaemonNames> DaemonNames::New(const Options& options) {
  std::vector<std::string> names = options.tls->names;
  for (const std::string& name : names) {
    if (Status status = CheckName(name); !status.ok()) return status;
  }
  if (!names.empty()) return DaemonNames(std::move(names), false);
  for (const std::string& peer : options.peers) {
    const Result<net::HostPort> parsed = net::ParseHostPort(peer);
    if (!parsed.ok()) return Invalid("peers: " + parsed.status().message());
    if (parsed->is_ip) {
      return Invalid("tls.names: needed, because \"" + peer + "\" says no name of a daemon");
    }
    std::string host = parsed->host;
    if (host.ends_with('.')) host.pop_back();
    // OpenSSL takes a host that begins with a dot for everything below it.
    if (!CheckName(host).ok()) return Invalid("peers: \"" + peer + "\" has no DNS name");
    names.push_back(std::move(host));
  }
  if (names.empty()) return Invalid("tls.names: needed, because daemons are found by address");
  return DaemonNames(std::move(names), true);
}

std::string DaemonNames::ServerName() const {
  const auto at = std::find_if(names_.begin(), names_.end(), [](const std::string& name) {
    return !IsUri(name) && !absl::StrContains(name, kAny);
  });
  return at == names_.end() ? "" : *at;
}

Status DaemonNames::Check(const std::string& pem) const {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  const Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  ERR_clear_error();
  if (!certificate) return {Code::kRefused, "the daemon has shown no certificate"};
  const std::vector<std::string> carried = NamesOf(certificate.get());
  const bool ok = std::any_of(names_.begin(), names_.end(), [&](const std::string& wanted) {
    if (are_hosts_) {
      return X509_check_host(
                 certificate.get(), wanted.data(), wanted.size(),
                 X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                 nullptr) == 1;
    }
    return std::any_of(carried.begin(), carried.end(),
                       [&](const std::string& name) { return Matches(name, wanted); });
  });
  ERR_clear_error();
  if (ok) return {};
  return {Code::kRefused, "no matching name in the daemon's certificate: it carries " +
                              Told(carried) + "; expected " + Told(names_)};
}

}  // namespace podmirror::client
