#include "net/address.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace podmirror::net {
namespace {

constexpr std::size_t kMaxHostBytes = 253;  // the longest DNS name

bool IsHostName(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHostBytes &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
         });
}

// A host that ends in a number is meant to be an IPv4 address. If it is none, it must not be taken
// for a name: getaddrinfo reads "010.0.0.1" as octal, which is 8.0.0.1, and "10.1" as 10.0.0.1.
bool EndsInNumber(std::string_view host) {
  const std::string_view last = host.substr(host.rfind('.') + 1);
  return (!last.empty() && std::all_of(last.begin(), last.end(), absl::ascii_isdigit)) ||
         last.starts_with("0x") || last.starts_with("0X");
}

Status Invalid(std::string_view text, std::string_view reason) {
  return Status(Code::kInvalid, "\"" + std::string(text) + "\": " + std::string(reason));
}

}  // namespace

std::optional<std::string> CanonicalIp(std::string_view text) {
  // inet_pton wants a terminated string and stops at a NUL that is part of ours.
  if (text.find('\0') != text.npos) return std::nullopt;
  const std::string terminated(text);
  std::array<unsigned char, sizeof(in6_addr)> address{};
  std::array<char, INET6_ADDRSTRLEN> canonical{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, terminated.c_str(), address.data()) == 1 &&
        inet_ntop(family, address.data(), canonical.data(), canonical.size()) != nullptr) {
      return canonical.data();
    }
  }
  return std::nullopt;
}

bool IsLoopback(std::string_view ip) {
  return ip == "::1" || (ip.starts_with("127.") && CanonicalIp(ip) == ip);
}

std::string HostPort::ToString() const {
  const bool brackets = host.find(':') != host.npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> ParseHostPort(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return Invalid(text, "host:port expected");
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  HostPort result;
  std::uint32_t port = 0;
  // SimpleAtoi also takes blanks and signs.
  if (digits.empty() || digits.size() > 5 ||
      !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &port) || port == 0 ||
      port > 65535) {
    return Invalid(text, "port 1..65535 expected after the host");
  }
  result.port = static_cast<std::uint16_t>(port);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  const std::optional<std::string> ip = CanonicalIp(host);
  const bool is_v6 = ip && ip->find(':') != ip->npos;
  if (brackets != is_v6) return Invalid(text, "an IPv6 address has to stand in brackets");
  result.is_ip = ip.has_value();
  result.host = ip.value_or(std::string(host));
  if (!result.is_ip && EndsInNumber(host)) {
    return Invalid(text, "not an IPv4 address: four decimal numbers without leading zeros");
  }
  if (!result.is_ip && !IsHostName(host)) return Invalid(text, "not a host name");
  return result;
}

std::string BaseUrl::ToString() const {
  return (https ? "https://" : "http://") + host_port.ToString();
}

Result<BaseUrl> ParseBaseUrl(std::string_view text) {
  BaseUrl url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.https = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return Invalid(text, "http:// or https:// expected");
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  // A colon inside brackets is not that of a port.
  const std::size_t bracket = rest.rfind(']');
  const std::size_t colon = rest.find(':', bracket == rest.npos ? 0 : bracket);
  std::string host_port(rest);
  if (colon == rest.npos) host_port += url.https ? ":443" : ":80";
  Result<HostPort> parsed = ParseHostPort(host_port);
  if (!parsed.ok()) return Invalid(text, "not a URL of the form http://host:port");
  url.host_port = *parsed;
  return url;
}

}  // namespace podmirror::net
