#include <absl/synchronization/notification.h>
#include <httplib.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

Result<std::unique_ptr<PeerSource>> Source(const EtcdOptions& options,
                                           telemetry::Metrics& metrics) {
  return NewEtcdV2Source(options, FilterFor("default", "relay"), metrics, Env::Real());
}

// A server that answers like etcd, but what the test says.
class ScriptedEtcd {
 public:
  using Answer = std::function<void(const httplib::Request&, httplib::Response&)>;

  ScriptedEtcd(Answer list, Answer poll) {
    server_.Get("/v2/keys/.*", [this, list, poll](const auto& request, auto& response) {
      const bool wait = request.has_param("wait");
      if (request.has_param("recursive") && !wait) ++lists_;
      (wait ? poll : list)(request, response);
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~ScriptedEtcd() {
    server_.stop();
    thread_.join();
  }

  EtcdOptions options() const {
    EtcdOptions options;
    options.endpoints = {"http://127.0.0.1:" + std::to_string(port_)};
    return options;
  }
  int lists() const { return lists_; }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
  std::atomic<int> lists_ = 0;
};

void AnswerList(const httplib::Request&, httplib::Response& response) {
  response.set_header("X-Etcd-Index", "57");
  response.set_content(
      json{{"action", "get"},
           {"node",
            {{"key", "/registry/pods/default"},
             {"dir", true},
             {"nodes", {{{"key", Key(1)}, {"value", PodJson(1)}, {"modifiedIndex", 5}}}}}}}
          .dump(),
      "application/json");
}

TEST_CASE("v2: polls continue where the list ended; empty ones repeat; a lost history is listed") {
  telemetry::Metrics metrics;
  std::atomic<int> poll = 0;
  std::vector<std::string> indexes;  // written by one connection after the other
  absl::Mutex mutex;
  absl::Notification done;
  ScriptedEtcd etcd(AnswerList, [&](const httplib::Request& request, httplib::Response& response) {
    {
      absl::MutexLock lock(&mutex);
      indexes.push_back(request.get_param_value("waitIndex"));
    }
    response.set_header("X-Etcd-Index", "57");
    switch (++poll) {
      case 1:
        response.set_content("", "application/json");
        break;
      case 2:
        response.set_content(
            json{{"action", "set"},
                 {"node", {{"key", Key(2)}, {"value", PodJson(2)}, {"modifiedIndex", 60}}}}
                .dump(),
            "application/json");
        break;
      case 3:
      case 4:
        response.status = 400;
        response.set_content(json{{"errorCode", poll == 3 ? 401 : 400},
                                  {"message", "The event in requested index is outdated"},
                                  {"index", 1056}}
                                 .dump(),
                             "application/json");
        break;
      case 5:
        response.set_content(
            json{{"action", "expire"}, {"node", {{"key", Key(1)}, {"modifiedIndex", 70}}}}.dump(),
            "application/json");
        break;
      default:  // a poll that ends without an event
        done.WaitForNotificationWithTimeout(absl::Seconds(5));
        response.set_content("", "application/json");
    }
  });
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([&](const Seen& seen) { return poll >= 6 && seen.names().empty(); }));
  CHECK(metrics.Render().find("type=\"error\"") == std::string::npos);
  done.Notify();
  absl::MutexLock lock(&mutex);
  REQUIRE(indexes.size() >= 6);
  CHECK(std::vector<std::string>(indexes.begin(), indexes.begin() + 6) ==
        std::vector<std::string>{"58", "58", "61", "58", "58", "71"});
  CHECK(etcd.lists() == 3);
}

// A small question about the whole store.
bool IsCheck(const httplib::Request& request) { return !request.has_param("recursive"); }

void AnswerCheck(httplib::Response& response, int index) {
  response.set_header("X-Etcd-Index", std::to_string(index));
  response.status = 404;
  response.set_content(R"({"errorCode":100,"message":"Key not found"})", "application/json");
}

TEST_CASE("v2: after quiet polls the index goes on, so that a busy store's history suffices") {
  telemetry::Metrics metrics;
  absl::Mutex mutex;
  std::vector<std::string> indexes;
  ScriptedEtcd etcd(
      [&](const httplib::Request& request, httplib::Response& response) {
        IsCheck(request) ? AnswerCheck(response, 5000) : AnswerList(request, response);
      },
      [&](const httplib::Request& request, httplib::Response& response) {
        absl::MutexLock lock(&mutex);
        indexes.push_back(request.get_param_value("waitIndex"));
        response.set_content("", "application/json");
      });
  Running source(Source(etcd.options(), metrics));
  const auto polls = [&] {
    absl::MutexLock lock(&mutex);
    return indexes;
  };
  REQUIRE(source.WaitFor([&](const Seen&) { return polls().size() >= 3; }));
  // What was there before the second poll began is behind us only when that one has ended.
  CHECK(std::vector<std::string>(indexes.begin(), indexes.begin() + 3) ==
        std::vector<std::string>{"58", "58", "5001"});
  CHECK(etcd.lists() == 1);
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: a store that went back behind a quiet poll is listed again") {
  telemetry::Metrics metrics;
  std::atomic<bool> restored = false;
  absl::Notification done;
  ScriptedEtcd etcd(
      [&](const httplib::Request& request, httplib::Response& response) {
        if (IsCheck(request)) {
          restored = true;
          AnswerCheck(response, 20);
          return;
        }
        if (!restored) return AnswerList(request, response);
        AnswerCheck(response, 20);  // no pods there
      },
      [&](const httplib::Request&, httplib::Response& response) {
        response.set_header("X-Etcd-Index", "57");
        response.set_chunked_content_provider(
            "application/json", [&](std::size_t, httplib::DataSink& sink) {
              done.WaitForNotificationWithTimeout(absl::Seconds(30));
              sink.done();
              return true;
            });
      });
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(source.WaitForNames({}, std::chrono::seconds(25)));
  CHECK(source.seen().revision == 20);
  done.Notify();
}

TEST_CASE("v2: answers that are not etcd's are an error, never an empty set") {
  telemetry::Metrics metrics;
  using Answer = ScriptedEtcd::Answer;
  const std::pair<const char*, Answer> kAnswers[] = {
      {"HTML",
       [](const auto&, auto& response) {
         response.set_header("X-Etcd-Index", "5");
         response.set_content("<html>", "text/html");
       }},
      {"no index", [](const auto&, auto& response) { response.set_content("{}", "a/b"); }},
      {"bad index",
       [](const auto& request, auto& response) {
         AnswerList(request, response);
         response.headers.erase("X-Etcd-Index");
         response.set_header("X-Etcd-Index", "-99999999999999999999");
       }},
      {"no directory",
       [](const auto&, auto& response) {
         response.set_header("X-Etcd-Index", "5");
         response.set_content(R"({"action":"get","node":{"key":"/x","value":"y"}})", "a/b");
       }},
      {"404 of another server",
       [](const auto&, auto& response) {
         response.set_header("X-Etcd-Index", "5");
         response.status = 404;
         response.set_content("{}", "a/b");
       }},
      {"unauthorized",
       [](const auto&, auto& response) {
         response.set_header("X-Etcd-Index", "5");
         response.status = 401;
         response.set_content(R"({"errorCode":110,"message":"The request requires user auth"})",
                              "a/b");
       }},
      {"raft error",
       [](const auto&, auto& response) {
         response.set_header("X-Etcd-Index", "5");
         response.status = 500;
         response.set_content(R"({"errorCode":300,"message":"Raft Internal Error"})", "a/b");
       }},
  };
  for (const auto& [name, answer] : kAnswers) {
    INFO(name);
    ScriptedEtcd etcd(answer, answer);
    Running source(Source(etcd.options(), metrics));
    REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    INFO(source.seen().errors[0]);
    CHECK_FALSE(source.seen().set.has_value());
    CHECK(source.TimeStop() < milliseconds(1000));
  }
}

TEST_CASE("v2: an answer longer than the limit is an error") {
  telemetry::Metrics metrics;
  const ScriptedEtcd::Answer endless = [](const auto&, auto& response) {
    response.set_header("X-Etcd-Index", "5");
    response.set_chunked_content_provider("a/b", [](std::size_t, httplib::DataSink& sink) {
      const std::string block(1u << 20, ' ');
      return sink.write(block.data(), block.size());
    });
  };
  ScriptedEtcd etcd(endless, endless);
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); },
                         std::chrono::seconds(60)));
  CHECK(source.seen().errors[0].find("answer too long") != std::string::npos);
}

}  // namespace
}  // namespace podmirror::discovery
