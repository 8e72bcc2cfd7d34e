#include "test_relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <vector>

namespace podmirror::discovery {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

// False when the connection has ended.
bool Pass(int from, int to) {
  std::array<char, 65536> buffer;
  const ssize_t size = recv(from, buffer.data(), buffer.size(), 0);
  for (ssize_t sent = 0; sent < size;) {
    const ssize_t now =
        send(to, buffer.data() + sent, static_cast<std::size_t>(size - sent), MSG_NOSIGNAL);
    if (now <= 0) return false;
    sent += now;
  }
  return size > 0;
}

}  // namespace

TestRelay::TestRelay(int port) : to_(port), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address = Loopback(0);
  REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(listener_, 16) == 0);
  socklen_t size = sizeof(address);
  REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

TestRelay::~TestRelay() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

void TestRelay::Accept() {
  const int near = accept(listener_, nullptr, nullptr);
  if (near < 0) return;
  ++accepted_;
  const int far = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = Loopback(to_);
  if (cut_ || connect(far, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(near);
    close(far);
    return;
  }
  pairs_.push_back({near, far});
}

void TestRelay::Run() {
  constexpr int kPollMs = 10;
  const auto end = [](const Pair& pair) {
    close(pair.near);
    close(pair.far);
    return true;
  };
  while (!stop_) {
    if (cut_) pairs_.remove_if(end);
    std::vector<pollfd> fds = {{.fd = listener_, .events = POLLIN, .revents = 0}};
    if (!held_) {
      for (const Pair& pair : pairs_) {
        fds.push_back({.fd = pair.near, .events = POLLIN, .revents = 0});
        fds.push_back({.fd = pair.far, .events = POLLIN, .revents = 0});
      }
    }
    if (poll(fds.data(), fds.size(), kPollMs) <= 0) continue;
    std::size_t at = 1;
    if (!held_ && fds.size() > 1) {
      pairs_.remove_if([&](const Pair& pair) {
        const bool near_ready = fds[at++].revents != 0;
        const bool far_ready = fds[at++].revents != 0;
        return ((near_ready && !Pass(pair.near, pair.far)) ||
                (far_ready && !Pass(pair.far, pair.near))) &&
               end(pair);
      });
    }
    if (fds[0].revents != 0) Accept();
  }
  pairs_.remove_if(end);
}

}  // namespace podmirror::discovery
