// A wire between a client and a server that a test can cut or freeze.
// Thread safety: all calls from any thread.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace podmirror::client {

class CutProxy {
 public:
  explicit CutProxy(int to_port) : to_port_(to_port), listener_(NewSocket()) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_, 16) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~CutProxy() {
    stopping_ = true;
    thread_.join();
    for (const Wire& wire : wires_) Close(wire);
    close(listener_);
  }

  int port() const { return port_; }
  // Connections that were made.
  int made() const { return made_; }

  // Resets every connection and returns when that is done.
  void Cut() { Do(Wish::kCut); }
  // What is connected now carries nothing any more; new connections do.
  void Freeze() { Do(Wish::kFreeze); }

 private:
  enum class Wish { kNone, kCut, kFreeze };
  struct Wire {
    int client = -1;
    int server = -1;
    bool frozen = false;
  };

  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
  }
  static int NewSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }
  static void Close(const Wire& wire) {
    const linger reset = {1, 0};
    setsockopt(wire.client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(wire.client);
    close(wire.server);
  }

  // Returns when the thread has done it.
  void Do(Wish wish) {
    absl::MutexLock lock(&mu_);
    wish_ = wish;
    const auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return wish_ == Wish::kNone; };
    if (!mu_.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(10))) std::abort();
  }

  void Grant() {
    absl::MutexLock lock(&mu_);
    if (wish_ == Wish::kCut) {
      for (const Wire& wire : wires_) Close(wire);
      wires_.clear();
    }
    if (wish_ == Wish::kFreeze) {
      for (Wire& wire : wires_) wire.frozen = true;
    }
    wish_ = Wish::kNone;
  }

  void Run() {
    while (!stopping_) {
      Grant();
      std::vector<pollfd> polled = {{listener_, POLLIN, 0}};
      for (const Wire& wire : wires_) {
        const short events = wire.frozen ? 0 : POLLIN;
        polled.push_back({wire.client, events, 0});
        polled.push_back({wire.server, events, 0});
      }
      poll(polled.data(), polled.size(), 1);
      // Backwards: a wire that ends is taken out.
      for (std::size_t i = wires_.size(); i-- > 0;) {
        const Wire wire = wires_[i];
        if (wire.frozen) continue;
        if (!Carry(polled[1 + 2 * i], wire.server) || !Carry(polled[2 + 2 * i], wire.client)) {
          Close(wire);
          wires_.erase(wires_.begin() + static_cast<std::ptrdiff_t>(i));
        }
      }
      if ((polled[0].revents & POLLIN) != 0) Accept();
    }
  }

  static bool Carry(const pollfd& from, int to) {
    if (from.revents == 0) return true;
    std::array<char, 65536> buffer;
    const ssize_t size = recv(from.fd, buffer.data(), buffer.size(), 0);
    if (size <= 0) return false;
    for (ssize_t sent = 0; sent < size;) {
      const ssize_t more =
          send(to, buffer.data() + sent, static_cast<std::size_t>(size - sent), MSG_NOSIGNAL);
      if (more <= 0) return false;
      sent += more;
    }
    return true;
  }

  void Accept() {
    Wire wire;
    wire.client = accept(listener_, nullptr, nullptr);
    wire.server = NewSocket();
    const sockaddr_in address = Loopback(to_port_);
    if (connect(wire.server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      Close(wire);
      return;
    }
    ++made_;
    wires_.push_back(wire);
  }

  const int to_port_;
  const int listener_;
  int port_ = 0;
  std::atomic<int> made_{0};
  std::atomic<bool> stopping_{false};
  absl::Mutex mu_;
  Wish wish_ ABSL_GUARDED_BY(mu_) = Wish::kNone;
  std::vector<Wire> wires_;  // the thread's
  std::thread thread_;
};

}  // namespace podmirror::client
