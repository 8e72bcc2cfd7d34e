// LogWriter writes lines to a file descriptor from a thread of its own, so that a thread that logs
// never waits for the reader of a pipe. Lines wait in a queue that is bounded in bytes. When it is
// full, the oldest lines are dropped; once lines can be written again, a line in their place says
// how many were lost. LogWriter stands behind a sink of spdlog. spdlog's own asynchronous logger
// drops lines, too, but it cannot be stopped while a write is stuck.
//
// Thread safety: Write and dropped from any thread; the rest from the thread that owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace podmirror::app {

class LogWriter {
 public:
  // Makes the line, with its end, that says how many lines were lost. Called from the writer's
  // thread.
  using GapLine = std::function<std::string(std::uint64_t lost)>;

  // Writes to `fd`, which must stay open. The queue holds lines of `max_bytes` in total.
  LogWriter(int fd, std::size_t max_bytes, GapLine gap_line);
  // As Stop without a limit of time.
  ~LogWriter();

  // Queues a whole line, with its end. Never blocks.
  void Write(std::string line);

  // Lines that were lost: too many were waiting, or the descriptor refused them.
  std::uint64_t dropped() const;

  // Takes no more lines and writes the queued ones. False when they were not written within
  // `limit`: the thread is stuck in a write, and the process must exit without destroying the
  // LogWriter.
  bool Stop(absl::Duration limit);

 private:
  void Run();

  const int fd_;
  const std::size_t max_bytes_;
  const GapLine gap_line_;
  mutable absl::Mutex mu_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mu_);
  std::size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of lines_
  std::uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t unsaid_ ABSL_GUARDED_BY(mu_) = 0;  // of dropped_: no line has said so yet
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::CondVar changed_;       // a line came, or stopping_
  absl::Notification stopped_;  // the thread is about to end
  std::thread thread_;          // last: it uses all of the above
};

}  // namespace podmirror::app
