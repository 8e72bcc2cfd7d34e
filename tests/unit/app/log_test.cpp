#include "app/log.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace podmirror::app {
namespace {

class FixedEnv : public Env {
 public:
  Now now() const override { return {0, 1'495'534'229'007}; }  // 2017-05-23T10:10:29.007Z
  std::uint64_t Random() override { return 4; }
};

std::vector<std::string> Lines(const std::ostringstream& out) {
  std::vector<std::string> lines;
  std::istringstream in(out.str());
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST_CASE("a JSON line carries time, level, message, event and the event's fields, in this order") {
  FixedEnv env;
  std::ostringstream out;
  Log log(out, LogLevel::kInfo, LogFormat::kJson, env);
  log.Event(
      LogLevel::kWarn, "peer_lost", "peer lost",
      {{"peer", "web-1"}, {"entries", std::uint64_t{18446744073709551615u}}, {"ready", true}});
  CHECK(out.str() ==
        R"({"ts":"2017-05-23T10:10:29.007Z","level":"warn","msg":"peer lost","event":"peer_lost",)"
        R"("peer":"web-1","entries":18446744073709551615,"ready":true})"
        "\n");
}

TEST_CASE("hostile text stays one JSON line") {
  FixedEnv env;
  std::ostringstream out;
  Log log(out, LogLevel::kInfo, LogFormat::kJson, env);
  const std::string hostile =
      "a\n{\"event\":\"ready\"}\r\x01\xff\xc3{}%v\"\\" + std::string(1, '\0');
  log.Event(LogLevel::kError, "peer_refused", hostile, {{"peer", hostile}});

  REQUIRE(Lines(out).size() == 1);
  const auto json = nlohmann::json::parse(Lines(out)[0]);
  CHECK(json["event"] == "peer_refused");
  const std::string replaced =
      "a\n{\"event\":\"ready\"}\r\x01\xef\xbf\xbd\xef\xbf\xbd{}%v\"\\" + std::string(1, '\0');
  CHECK(json["peer"] == replaced);
  CHECK(json["msg"] == replaced);
}

TEST_CASE("events below the level are dropped") {
  FixedEnv env;
  std::ostringstream out;
  Log log(out, LogLevel::kWarn, LogFormat::kJson, env);
  log.Event(LogLevel::kDebug, "a", "a");
  log.Event(LogLevel::kInfo, "b", "b");
  log.Event(LogLevel::kWarn, "c", "c");
  log.Event(LogLevel::kError, "d", "d");
  CHECK(Lines(out).size() == 2);
}

TEST_CASE("text is one readable line") {
  FixedEnv env;
  std::ostringstream out;
  Log log(out, LogLevel::kInfo, LogFormat::kText, env);
  log.Event(LogLevel::kInfo, "ready", "ready to serve",
            {{"donor", "web-1"}, {"why", "a b\n\xff"}, {"entries", std::uint64_t{3}}});
  CHECK(
      out.str() ==
      "2017-05-23T10:10:29.007Z info ready: ready to serve donor=web-1 why=\"a b\\n\xef\xbf\xbd\" "
      "entries=3\n");
}

TEST_CASE("lines of many threads do not mix") {
  FixedEnv env;
  std::ostringstream out;
  Log log(out, LogLevel::kInfo, LogFormat::kJson, env);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 250; ++i) log.Event(LogLevel::kInfo, "event", std::string(100, 'x'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines(out);
  CHECK(lines.size() == 1000);
  for (const std::string& line : lines) CHECK(nlohmann::json::accept(line));
}

}  // namespace
}  // namespace podmirror::app
