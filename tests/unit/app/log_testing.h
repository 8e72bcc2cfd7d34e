// Where tests let a log write to. Thread safety: none.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "app/log.h"
#include "integration/eventually.h"

namespace podmirror::app {

// A file that nobody else sees, and that is gone with this.
class TempFile {
 public:
  TempFile() : file_(std::tmpfile()) {}
  ~TempFile() { std::fclose(file_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  int fd() const { return fileno(file_); }

  std::string Read() const {
    std::string text(static_cast<std::size_t>(lseek(fd(), 0, SEEK_END)), 0);
    const ssize_t got = pread(fd(), text.data(), text.size(), 0);
    return text.substr(0, static_cast<std::size_t>(got));
  }

 private:
  std::FILE* const file_;
};

// All that was logged until now, as JSON; it does not end the log.
inline std::string LoggedSoFar(Log& log, const TempFile& file) {
  static int calls = 0;
  const std::string mark = "mark-" + std::to_string(++calls);
  log.Event(LogLevel::kError, mark, "");
  std::string text;
  const bool written = Eventually([&] {
    text = file.Read();
    return text.ends_with("\"event\":\"" + mark + "\"}\n");
  });
  if (!written) std::abort();
  return text.substr(0, text.rfind('{'));
}

// A pipe whose reader sleeps until told otherwise. Small, so that it is full soon.
class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) std::abort();
    capacity_ = static_cast<std::size_t>(fcntl(writer(), F_SETPIPE_SZ, 4096));
  }
  ~Pipe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int writer() const { return ends_[1]; }
  std::size_t capacity() const { return capacity_; }

  // Whether so many bytes could be written at once now. poll would not tell: it calls a pipe of one
  // page full as soon as there is anything in it.
  bool fits(std::size_t bytes) const {
    int held = 0;
    if (ioctl(ends_[0], FIONREAD, &held) != 0) std::abort();
    return static_cast<std::size_t>(held) + bytes <= capacity_;
  }

  // Reads on until the text ends with `last`; all that came.
  std::string ReadUntil(std::string_view last) const {
    std::string text;
    std::array<char, 4096> some;
    while (!text.ends_with(last)) {
      const ssize_t got = read(ends_[0], some.data(), some.size());
      if (got <= 0) break;
      text.append(some.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  std::array<int, 2> ends_{};
  std::size_t capacity_ = 0;
};

}  // namespace podmirror::app
