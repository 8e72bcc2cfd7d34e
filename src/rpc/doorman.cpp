#include "rpc/doorman.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "net/listener.h"

namespace podmirror::rpc {
namespace {

// While the process has no descriptor left, a waiting connection would be reported without end.
constexpr int kExhaustedMs = 100;

}  // namespace

Result<std::unique_ptr<Doorman>> Doorman::Open(const std::string& address, Callers& callers,
                                               std::function<void()> on_turned_away) {
  const Result<int> listen_fd = net::OpenListener(address);
  if (!listen_fd.ok()) return listen_fd.status();
  const int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  std::unique_ptr<Doorman> doorman(
      new Doorman(*listen_fd, wake_fd, callers, std::move(on_turned_away)));
  if (wake_fd < 0) return Status(Code::kExhausted, "no descriptor left");
  return doorman;
}

Doorman::~Doorman() {
  Stop();
  close(listen_fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

std::uint16_t Doorman::port() const { return net::BoundPort(listen_fd_); }

void Doorman::Start(std::unique_ptr<Acceptor> acceptor) {
  acceptor_ = std::move(acceptor);
  thread_ = std::thread([this] { Run(); });
}

void Doorman::Stop() {
  if (!thread_.joinable()) return;
  // The kernel would go on letting clients in, who would never be answered.
  shutdown(listen_fd_, SHUT_RDWR);
  eventfd_write(wake_fd_, 1);
  thread_.join();
}

void Doorman::Run() {
  for (;;) {
    pollfd fds[2] = {{listen_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    poll(fds, 2, -1);
    if (fds[1].revents != 0) return;
    while (AcceptOne()) {
    }
  }
}

bool Doorman::AcceptOne() {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  const int fd = accept4(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pollfd wake = {wake_fd_, POLLIN, 0};
      poll(&wake, 1, kExhaustedMs);
    }
    return errno == EINTR || errno == ECONNABORTED;
  }
  if (callers_.Admit(net::IpOf(address), net::PortOf(address))) {
    Acceptor::NewConnectionParameters connection;
    connection.listener_fd = listen_fd_;
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
    return true;
  }
  // Without a state in the kernel that would outlive it.
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(fd);
  if (on_turned_away_) on_turned_away_();
  return true;
}

}  // namespace podmirror::rpc
