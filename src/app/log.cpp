#include "app/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <array>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

namespace podmirror::app {
namespace {

constexpr std::array kLevels = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                spdlog::level::err};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  return kLevels[static_cast<std::size_t>(level)];
}

// Puts whole lines into the writer's queue, which has its own lock.
class WriterSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit WriterSink(LogWriter& writer) : writer_(writer) {}

 private:
  void sink_it_(const spdlog::details::log_msg& line) override {
    writer_.Write(std::string(line.payload.data(), line.payload.size()) + "\n");
  }
  void flush_() override {}

  LogWriter& writer_;
};

std::string Timestamp(WallMs wall) {
  const std::time_t seconds = wall / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::string millis = std::to_string(wall % 1000);
  millis.insert(0, 3 - std::min<std::size_t>(3, millis.size()), '0');
  return std::string(text, length) + "." + millis + "Z";
}

std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// A string as JSON escapes it, without the quotes: never more than one line.
std::string Escaped(const nlohmann::ordered_json& text) {
  const std::string dumped = Dump(text);
  return dumped.substr(1, dumped.size() - 2);
}

// Quoted only where it would not read as one word.
std::string TextValue(const nlohmann::ordered_json& value) {
  if (!value.is_string()) return Dump(value);
  const std::string word = Escaped(value);
  return word.empty() || word.find_first_of(" =\\") != std::string::npos ? Dump(value) : word;
}

}  // namespace

std::string_view ToString(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warn", "error"};
  return kNames[static_cast<std::size_t>(level)];
}

Log::Log(int fd, LogLevel level, LogFormat format, Env& env)
    : format_(format),
      env_(env),
      writer_(fd, kMaxQueuedBytes,
              [this](auto lost) {
                return Line(LogLevel::kWarn, "log_dropped",
                            "lines are missing here: the log was not read", {{"lines", lost}}) +
                       "\n";
              }),
      logger_(
          std::make_unique<spdlog::logger>("podmirrord", std::make_shared<WriterSink>(writer_))) {
  logger_->set_level(SpdlogLevel(level));
}

Log::~Log() = default;

void Log::Event(LogLevel level, std::string_view event, std::string_view msg,
                const std::vector<LogField>& fields) {
  const spdlog::level::level_enum as = SpdlogLevel(level);
  if (logger_->should_log(as)) logger_->log(as, Line(level, event, msg, fields));
}

void Log::Always(std::string_view event, std::string_view msg,
                 const std::vector<LogField>& fields) {
  logger_->log(spdlog::level::critical, Line(LogLevel::kInfo, event, msg, fields));
}

std::string Log::Line(LogLevel level, std::string_view event, std::string_view msg,
                      const std::vector<LogField>& fields) const {
  nlohmann::ordered_json line = {{"ts", Timestamp(env_.now().wall)},
                                 {"level", ToString(level)},
                                 {"msg", msg},
                                 {"event", event}};
  for (const LogField& field : fields) {
    auto& value = line[std::string(field.first)];
    std::visit([&value](const auto& typed) { value = typed; }, field.second);
  }
  if (format_ == LogFormat::kJson) return Dump(line);
  std::string text = line["ts"].get<std::string>() + " " + std::string(ToString(level)) + " " +
                     std::string(event) + ": " + Escaped(line["msg"]);
  for (const auto& [name, value] : fields) {
    text += " " + std::string(name) + "=" + TextValue(line[std::string(name)]);
  }
  return text;
}

}  // namespace podmirror::app
