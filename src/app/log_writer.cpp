#include "app/log_writer.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

namespace podmirror::app {
namespace {

// Writes all of `text`, however long that takes. False when the descriptor refuses it, as a pipe
// does that has no reader any more.
bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      // Whoever shares the descriptor with us has made it non-blocking.
      pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

LogWriter::LogWriter(int fd, std::size_t max_bytes, GapLine gap_line)
    : fd_(fd), max_bytes_(max_bytes), gap_line_(std::move(gap_line)), thread_([this] { Run(); }) {}

LogWriter::~LogWriter() { Stop(absl::InfiniteDuration()); }

void LogWriter::Write(std::string line) {
  absl::MutexLock lock(&mu_);
  if (stopping_) return;
  bytes_ += line.size();
  lines_.push_back(std::move(line));
  changed_.Signal();
  while (bytes_ > max_bytes_) {
    bytes_ -= lines_.front().size();
    lines_.pop_front();
    ++dropped_;
    ++unsaid_;
  }
}

std::uint64_t LogWriter::dropped() const {
  absl::MutexLock lock(&mu_);
  return dropped_;
}

bool LogWriter::Stop(absl::Duration limit) {
  if (!thread_.joinable()) return true;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.Signal();
  }
  if (!stopped_.WaitForNotificationWithTimeout(limit)) return false;
  thread_.join();
  return true;
}

void LogWriter::Run() {
  mu_.Lock();
  for (;;) {
    while (lines_.empty() && !stopping_) changed_.Wait(&mu_);
    if (lines_.empty()) break;
    std::string text = std::move(lines_.front());
    lines_.pop_front();
    bytes_ -= text.size();
    const std::uint64_t lost = std::exchange(unsaid_, 0);
    mu_.Unlock();
    if (lost != 0) text.insert(0, gap_line_(lost));
    const bool written = WriteAll(fd_, text);
    mu_.Lock();
    if (!written) {
      ++dropped_;
      unsaid_ += lost + 1;
    }
  }
  mu_.Unlock();
  stopped_.Notify();
}

}  // namespace podmirror::app
