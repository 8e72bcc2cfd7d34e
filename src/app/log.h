// Log writes events: one JSON object per line for machines, or one line of text for people.
// Values of entries are never logged.
// Thread safety: all calls from any thread; lines do not mix.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/env.h"

namespace spdlog {
class logger;
}

namespace podmirror::app {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kJson, kText };

// "debug", "info", "warn", "error"
std::string_view ToString(LogLevel level);

using LogField = std::pair<std::string_view, std::variant<std::string, std::uint64_t, bool>>;

class Log {
 public:
  // Events below `level` are dropped. `out` and `env` must outlive the log.
  Log(std::ostream& out, LogLevel level, LogFormat format, Env& env);
  ~Log();

  // One line: ts (RFC 3339, ms, UTC), level, msg (for people), event (its name), then the fields.
  // Text may hold any bytes; those that are not UTF-8 are replaced.
  void Event(LogLevel level, std::string_view event, std::string_view msg,
             const std::vector<LogField>& fields = {});

 private:
  const LogFormat format_;
  Env& env_;
  const std::unique_ptr<spdlog::logger> logger_;  // has its own lock
};

}  // namespace podmirror::app
