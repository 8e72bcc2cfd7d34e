// Addresses as text: IP literals, host:port pairs and the base URLs of servers.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace podmirror::net {

// The canonical form of an IPv4 or IPv6 address ("2001:DB8::0:1" -> "2001:db8::1"), so that two
// texts of one address become equal. nullopt if `text` is no address. A text with brackets, a zone
// or a port is none, nor is one with leading zeros: some programs read "010" as 10, others as 8.
std::optional<std::string> CanonicalIp(std::string_view text);

// Whether a canonical IP address is of this machine only: 127.0.0.0/8 or ::1.
bool IsLoopback(std::string_view ip);

struct HostPort {
  std::string host;  // without brackets; canonical if it is an IP address
  std::uint16_t port = 0;
  bool is_ip = false;

  // "host:port" or "[v6]:port".
  std::string ToString() const;
};

// Reads "host:port", "1.2.3.4:port" or "[v6]:port"; the port is 1..65535. kInvalid with the reason,
// also for a host that looks like an IPv4 address but is none ("010.0.0.1", "10.1").
Result<HostPort> ParseHostPort(std::string_view text);

struct BaseUrl {
  bool https = false;
  HostPort host_port;

  // "http://host:port".
  std::string ToString() const;
};

// Reads "http://host:port" or "https://host:port"; a "/" may follow, and nothing after it. A URL
// without a port has the port of its scheme (80 or 443). kInvalid with the reason.
Result<BaseUrl> ParseBaseUrl(std::string_view text);

}  // namespace podmirror::net
