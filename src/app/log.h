// Log writes events: one JSON object per line for machines, or one line of text for people.
// Values of entries are never logged. Nobody waits for the reader of the log: see log_writer.h.
// Thread safety: all calls from any thread, but Stop from the thread that owns it; lines do not
// mix.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "app/log_writer.h"
#include "base/env.h"

namespace spdlog {
class logger;
}

namespace podmirror::app {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kJson, kText };

// "debug", "info", "warn", "error"
std::string_view ToString(LogLevel level);

using LogField =
    std::pair<std::string_view, std::variant<std::string, std::uint64_t, std::int64_t, bool>>;

class Log {
 public:
  // How many bytes of lines wait while nobody reads the log. Even a daemon in trouble takes hours
  // to log as much.
  static constexpr std::size_t kMaxQueuedBytes = 1024 * 1024;

  // Writes to the file descriptor `fd`. Events below `level` are left out. `env` must outlive the
  // log, and `fd` stay open as long.
  Log(int fd, LogLevel level, LogFormat format, Env& env);
  ~Log();

  // One line: ts (RFC 3339, ms, UTC), level, msg (for people), event (its name), then the fields.
  // Text may hold any bytes; those that are not UTF-8 are replaced.
  void Event(LogLevel level, std::string_view event, std::string_view msg,
             const std::vector<LogField>& fields = {});

  // The same, as info, whatever the level: for lines that are no matter of more or less.
  void Always(std::string_view event, std::string_view msg, const std::vector<LogField>& fields);

  // Lines that were lost because the reader did not keep up.
  std::uint64_t dropped() const { return writer_.dropped(); }

  // Writes the queued lines and ends the log. False when nobody reads them within `limit`: then the
  // process must exit without destroying the log.
  bool Stop(absl::Duration limit) { return writer_.Stop(limit); }

 private:
  std::string Line(LogLevel level, std::string_view event, std::string_view msg,
                   const std::vector<LogField>& fields) const;

  const LogFormat format_;
  Env& env_;
  LogWriter writer_;                        // its thread calls Line
  std::unique_ptr<spdlog::logger> logger_;  // its sink is the writer
};

}  // namespace podmirror::app
