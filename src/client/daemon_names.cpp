#include "client/daemon_names.h"

#include <absl/strings/str_join.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <utility>

#include "net/address.h"
#include "trust/certificate.h"

namespace podmirror::client {
namespace {

using trust::NamePattern;

// Enough to see what a certificate is; the text ends up in an error of 200 bytes.
constexpr std::size_t kNamesTold = 3;

bool HasWildcard(const NamePattern& name) { return name.text().find('*') != std::string::npos; }

bool IsFor(const trust::CertificateChain& chain, const std::string& host) {
  const bool is =
      X509_check_host(chain.leaf(), host.data(), host.size(),
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                      nullptr) == 1;
  ERR_clear_error();
  return is;
}

std::string Told(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  const std::size_t told = std::min(names.size(), kNamesTold);
  return absl::StrJoin(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(told), ", ") +
         (told < names.size() ? ", ..." : "");
}

}  // namespace

Result<DaemonNames> DaemonNames::New(const Options& options) {
  if (!options.tls->names.empty()) {
    auto names = trust::ParseNamePatterns(options.tls->names);
    if (!names.ok()) return Invalid("tls.names: " + names.status().message());
    return DaemonNames(std::move(*names), false);
  }
  std::vector<NamePattern> names;
  for (const std::string& peer : options.peers) {
    const Result<net::HostPort> parsed = net::ParseHostPort(peer);
    if (!parsed.ok()) return Invalid("peers: " + parsed.status().message());
    if (parsed->is_ip) {
      return Invalid("tls.names: needed, because \"" + peer + "\" says no name of a daemon");
    }
    std::string host = parsed->host;
    if (host.ends_with('.')) host.pop_back();
    auto name = NamePattern::Parse(host);
    if (!name.ok() || HasWildcard(*name)) {
      return Invalid("peers: \"" + peer + "\" has no DNS name");
    }
    names.push_back(std::move(*name));
  }
  if (names.empty()) return Invalid("tls.names: needed, because daemons are found by address");
  return DaemonNames(std::move(names), true);
}

std::string DaemonNames::ServerName() const {
  const auto at = std::find_if(names_.begin(), names_.end(), [](const NamePattern& name) {
    return !name.is_uri() && !HasWildcard(name);
  });
  return at == names_.end() ? "" : at->text();
}

Status DaemonNames::Check(const std::string& pem) const {
  const auto chain = trust::CertificateChain::Parse(pem);
  if (!chain.ok()) return {Code::kRefused, "the daemon has shown no certificate"};
  const trust::Names carried = chain->names();
  const bool ok =
      are_hosts_
          ? std::any_of(names_.begin(), names_.end(),
                        [&chain](const NamePattern& name) { return IsFor(*chain, name.text()); })
          : trust::MatchesAny(names_, carried);
  if (ok) return {};
  std::vector<std::string> there = carried.dns;
  there.insert(there.end(), carried.uris.begin(), carried.uris.end());
  std::vector<std::string> expected;
  for (const NamePattern& name : names_) expected.push_back(name.text());
  return {Code::kRefused, "no matching name in the daemon's certificate: it carries " +
                              Told(there) + "; expected " + Told(expected)};
}

}  // namespace podmirror::client
