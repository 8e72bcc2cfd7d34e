#include "raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "sanitized.h"

namespace podmirror::rest {
namespace {

constexpr std::chrono::seconds kLimit{20};

}  // namespace

std::string RawAnswer::problem() const {
  constexpr std::string_view kMark = "\"urn:podmirror:";
  const std::size_t begin = body.find(kMark);
  if (begin == std::string::npos) return {};
  const std::size_t end = body.find('"', begin + 1);
  return body.substr(begin + kMark.size(), end - begin - kMark.size());
}

RawClient::RawClient(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval limit{.tv_sec = kLimit.count(), .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

RawClient::~RawClient() { close(fd_); }

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

ssize_t RawClient::ReceiveSome(char* to, std::size_t size) { return recv(fd_, to, size, 0); }

bool RawClient::Fill() {
  char chunk[65536];
  const ssize_t got = ReceiveSome(chunk, sizeof(chunk));
  if (got <= 0) return false;
  buffer_.append(chunk, static_cast<std::size_t>(got));
  return true;
}

std::optional<RawAnswer> RawClient::Read(bool has_body) {
  std::size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return std::nullopt;
  }
  RawAnswer answer;
  answer.status = std::atoi(buffer_.c_str() + 9);
  std::size_t line = buffer_.find("\r\n") + 2;
  while (line < end) {
    const std::size_t stop = buffer_.find("\r\n", line);
    const std::size_t colon = buffer_.find(": ", line);
    std::string name = buffer_.substr(line, colon - line);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    answer.fields[name] = buffer_.substr(colon + 2, stop - colon - 2);
    line = stop + 2;
  }
  buffer_.erase(0, end + 4);
  if (has_body && answer.fields.contains("content-length")) {
    const std::size_t size = std::stoul(answer.fields["content-length"]);
    while (buffer_.size() < size) {
      if (!Fill()) return std::nullopt;
    }
    answer.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  }
  return answer;
}

std::optional<RawAnswer> RawClient::Ask(std::string_view bytes) {
  Send(bytes);
  return Read();
}

bool RawClient::Receive(std::size_t bytes) {
  while (buffer_.size() < bytes) {
    if (!Fill()) return false;
  }
  return true;
}

std::optional<std::string> RawClient::ReadUntil(std::string_view mark) {
  const auto until = std::chrono::steady_clock::now() + kLimit;
  std::size_t at;
  while ((at = buffer_.find(mark)) == std::string::npos) {
    // A watch is never silent: something else may come for ever.
    if (std::chrono::steady_clock::now() > until || !Fill()) return std::nullopt;
  }
  std::string taken = buffer_.substr(0, at + mark.size());
  buffer_.erase(0, taken.size());
  return taken;
}

bool RawClient::Closed() {
  char byte;
  return buffer_.empty() && ReceiveSome(&byte, 1) == 0;
}

std::string RawClient::ReadAll() {
  while (Fill()) {
  }
  return std::exchange(buffer_, {});
}

void RawClient::FinishSending() { shutdown(fd_, SHUT_WR); }

void RawClient::FixReceiveBuffer() {
  const int size = 256 * 1024;
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

bool RawClient::HasInput() const {
  pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
  return !buffer_.empty() || poll(&entry, 1, 0) > 0;
}

std::string MakeRequest(std::string_view method, std::string_view target, std::string_view body,
                        std::string_view lines) {
  std::string request(method);
  request.append(" ").append(target).append(" HTTP/1.1\r\nHost: h\r\n").append(lines);
  if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return request.append("\r\n").append(body);
}

std::int64_t ResidentBytes() {
  if (kSanitized) return 0;
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace podmirror::rest
