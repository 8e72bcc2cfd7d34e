#include "app/log.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "log_testing.h"

namespace podmirror::app {
namespace {

class FixedEnv : public Env {
 public:
  Now now() const override { return {0, 1'495'534'229'007}; }  // 2017-05-23T10:10:29.007Z
  std::uint64_t Random() override { return 4; }
};

// All that the log has written; it takes no more.
std::string TextOf(Log& log, const TempFile& file) {
  REQUIRE(log.Stop(absl::InfiniteDuration()));
  return file.Read();
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST_CASE("a JSON line carries time, level, message, event and the event's fields, in this order") {
  FixedEnv env;
  TempFile file;
  Log log(file.fd(), LogLevel::kInfo, LogFormat::kJson, env);
  log.Event(
      LogLevel::kWarn, "peer_lost", "peer lost",
      {{"peer", "web-1"}, {"entries", std::uint64_t{18446744073709551615u}}, {"ready", true}});
  CHECK(TextOf(log, file) ==
        R"({"ts":"2017-05-23T10:10:29.007Z","level":"warn","msg":"peer lost","event":"peer_lost",)"
        R"("peer":"web-1","entries":18446744073709551615,"ready":true})"
        "\n");
}

TEST_CASE("hostile text stays one JSON line") {
  FixedEnv env;
  TempFile file;
  Log log(file.fd(), LogLevel::kInfo, LogFormat::kJson, env);
  const std::string hostile =
      "a\n{\"event\":\"ready\"}\r\x01\xff\xc3{}%v\"\\" + std::string(1, '\0');
  log.Event(LogLevel::kError, "peer_refused", hostile, {{"peer", hostile}});

  const std::vector<std::string> lines = Lines(TextOf(log, file));
  REQUIRE(lines.size() == 1);
  const auto json = nlohmann::json::parse(lines[0]);
  CHECK(json["event"] == "peer_refused");
  const std::string replaced =
      "a\n{\"event\":\"ready\"}\r\x01\xef\xbf\xbd\xef\xbf\xbd{}%v\"\\" + std::string(1, '\0');
  CHECK(json["peer"] == replaced);
  CHECK(json["msg"] == replaced);
}

TEST_CASE("events below the level are dropped") {
  FixedEnv env;
  TempFile file;
  Log log(file.fd(), LogLevel::kWarn, LogFormat::kJson, env);
  log.Event(LogLevel::kDebug, "a", "a");
  log.Event(LogLevel::kInfo, "b", "b");
  log.Event(LogLevel::kWarn, "c", "c");
  log.Event(LogLevel::kError, "d", "d");
  CHECK(Lines(TextOf(log, file)).size() == 2);
}

TEST_CASE("text is one readable line") {
  FixedEnv env;
  TempFile file;
  Log log(file.fd(), LogLevel::kInfo, LogFormat::kText, env);
  log.Event(LogLevel::kInfo, "ready", "ready to serve",
            {{"donor", "web-1"}, {"why", "a b\n\xff"}, {"entries", std::uint64_t{3}}});
  CHECK(
      TextOf(log, file) ==
      "2017-05-23T10:10:29.007Z info ready: ready to serve donor=web-1 why=\"a b\\n\xef\xbf\xbd\" "
      "entries=3\n");
}

TEST_CASE("lines of many threads do not mix") {
  FixedEnv env;
  TempFile file;
  Log log(file.fd(), LogLevel::kInfo, LogFormat::kJson, env);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 250; ++i) log.Event(LogLevel::kInfo, "event", std::string(100, 'x'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines(TextOf(log, file));
  CHECK(lines.size() == 1000);
  for (const std::string& line : lines) CHECK(nlohmann::json::accept(line));
}

}  // namespace
}  // namespace podmirror::app
