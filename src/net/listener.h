// Listening sockets and addresses. Thread safety: pure functions.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "base/status.h"

namespace podmirror::net {

// A non-blocking listening socket on "host:port" or "[v6]:port"; "[::]" is dual stack, and 0.0.0.0
// where there is no IPv6. The caller closes it. kInvalid: not an address; kUnavailable: the port is
// taken or the address is not ours.
Result<int> OpenListener(const std::string& address);

// The port that a listening socket is bound to.
std::uint16_t BoundPort(int fd);

// The IP of a socket's address, without brackets; an IPv4 one that came by IPv6 as what it is.
std::string IpOf(const sockaddr_storage& address);
std::uint16_t PortOf(const sockaddr_storage& address);

// Raises this process's limit of open files as far as it is allowed to: connections of REST are
// limited by a setting, but peers, applications and discovery open files too.
void RaiseFileLimit();

}  // namespace podmirror::net
