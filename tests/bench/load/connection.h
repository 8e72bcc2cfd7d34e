// One connection to a server, for load: a request is sent, and its answer waited for.
//
// Thread rule: belongs to one thread. Invariant: what Read and Ask return lives until the next
// call.
#pragma once

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace bench {

class Connection {
 public:
  explicit Connection(const std::string& address) {
    const std::size_t colon = address.rfind(':');
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints,
                    &found) != 0) {
      throw std::runtime_error("no such address: " + address);
    }
    socket_ = ::socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    const int connected = connect(socket_, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (connected != 0) throw std::runtime_error("cannot connect to " + address);
    const int on = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval limit{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(socket_); }

  int socket() const { return socket_; }

  void Send(std::string_view request) {
    if (send(socket_, request.data(), request.size(), 0) != static_cast<ssize_t>(request.size())) {
      throw std::runtime_error("send failed");
    }
    size_ = 0;
  }

  // All that has come since the last Send, with what comes next.
  std::string_view Read() {
    const ssize_t got = recv(socket_, buffer_ + size_, sizeof buffer_ - size_, 0);
    if (got <= 0) throw std::runtime_error("no answer");
    size_ += static_cast<std::size_t>(got);
    return {buffer_, size_};
  }

  // Forgets what has come, so that there is room for more.
  void Clear() { size_ = 0; }

  // Sends the request and reads until `complete` says that the answer is whole.
  template <typename Complete>
  std::string_view Ask(std::string_view request, Complete complete) {
    Send(request);
    while (true) {
      if (const std::string_view answer = Read(); complete(answer)) return answer;
    }
  }

 private:
  int socket_ = -1;
  std::size_t size_ = 0;
  char buffer_[16384];
};

inline bool HttpComplete(std::string_view answer) {
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == std::string_view::npos) return false;
  const std::size_t length = answer.find("Content-Length: ");
  if (length == std::string_view::npos || length > head) throw std::runtime_error("no length");
  return answer.size() >= head + 4 + std::stoul(std::string(answer.substr(length + 16, 10)));
}

}  // namespace bench
