#include <absl/synchronization/notification.h>
#include <httplib.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

std::string Key(int number) { return "/registry/pods/default/relay-" + std::to_string(number); }

Result<std::unique_ptr<PeerSource>> Source(const EtcdOptions& options,
                                           telemetry::Metrics& metrics) {
  return NewEtcdV2Source(options, FilterFor("default", "relay"), metrics);
}

TEST_CASE("v2: the real answer of 2017 holds the pod hello-web") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  std::ifstream stream(std::string(PODMIRROR_FIXTURES) +
                       "/etcd-v2-2017/registry-pods-default.json");
  const json answer = json::parse(stream);
  for (const json& node : answer.at("node").at("nodes")) {
    etcd.V2Put(node.at("key"), node.at("value"));
  }
  PodFilter filter = FilterFor("default", "hello-web");
  Running source(NewEtcdV2Source(etcd.options(), filter, metrics));
  REQUIRE(source.WaitForNames({"hello-web-29a74e26ea3c2138e1727f35a111f4c6-dknwh"}));
  const PodRecord peer = source.seen().set->peers[0];
  CHECK(peer.ip == "172.80.13.4");
  CHECK(peer.uid == "09c45029-3fa0-11e7-a46c-00163e327954");
  CHECK(peer.started_at_ms == 1495534229000);  // 2017-05-23T10:10:29Z
  CHECK(peer.ready);
  CHECK(peer.port == 7070);
}

TEST_CASE("v2: pods added, changed and deleted are seen within a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));  // the directory is not there yet
  CHECK(source.seen().set->where == "/registry/pods/default");
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}, milliseconds(1000)));
  etcd.V2Put(Key(2), PodJson(2));
  etcd.V2Put("/registry/pods/default/deeper/relay-3", PodJson(3));
  etcd.V2Put("/registry/pods/default/_hidden", PodJson(4));
  etcd.V2Put("/registry/pods/default-two/relay-5", PodJson(5));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2", "relay-3"}, milliseconds(1000)));
  std::string moved = PodJson(1);
  moved.replace(moved.find("10.0.0.1"), 8, "10.9.9.9");
  etcd.V2Put(Key(1), moved);
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.set->peers[0].ip == "10.9.9.9"; },
                         milliseconds(1000)));
  etcd.V2Put(Key(1), "garbage");
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.unreadable.size() == 1; }));
  etcd.V2Delete(Key(1), false);
  REQUIRE(source.WaitForNames({"relay-2", "relay-3"}, milliseconds(1000)));
  etcd.V2Delete("/registry/pods/default/deeper", true);
  REQUIRE(source.WaitForNames({"relay-2"}, milliseconds(1000)));
  etcd.V2Delete("/registry/pods/default", true);
  REQUIRE(source.WaitForNames({}, milliseconds(1000)));
  etcd.V2Put(Key(6), PodJson(6));
  REQUIRE(source.WaitForNames({"relay-6"}, milliseconds(1000)));
  CHECK(source.seen().errors.empty());
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("v2: a burst of more events than the history holds is followed to its end") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));
  httplib::Client client("127.0.0.1", etcd.port());
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  for (int i = 0; i < 1200; ++i) {
    REQUIRE(client.Put("/v2/keys/elsewhere", httplib::Params{{"value", "x"}}));
  }
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
  source->Refresh();
  etcd.V2Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  CHECK(source.seen().errors.empty());
}

TEST_CASE("v2: an etcd that is not there is told, found when it comes, and again after its death") {
  TestEtcd etcd(FreePort());
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0].find("etcd " + etcd.url() + ": connection refused") == 0);
  CHECK_FALSE(source.seen().set.has_value());
  etcd.Start();
  etcd.V2Put(Key(1), PodJson(1));
  REQUIRE(source.WaitForNames({"relay-1"}));
  const std::size_t errors = source.seen().errors.size();
  etcd.Kill();
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.errors.size() > errors; }));
  CHECK(source.seen().names() == Names{"relay-1"});
  etcd.Start();
  etcd.V2Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
}

TEST_CASE("v2: refresh ends the poll and reads again, at most once a second") {
  TestEtcd etcd;
  telemetry::Metrics metrics;
  Running source(Source(etcd.options(), metrics));
  REQUIRE(source.WaitForNames({}));
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < milliseconds(2500)) {
    source->Refresh();
    source.WaitFor([](const Seen&) { return false; }, milliseconds(1));
  }
  CHECK(source.seen().answers >= 3);
  CHECK(source.seen().answers <= 4);
  CHECK(source.seen().errors.empty());
}

// A server that answers like etcd, but what the test says.
class ScriptedEtcd {
 public:
  using Answer = std::function<void(const httplib::Request&, httplib::Response&)>;

  ScriptedEtcd(Answer list, Answer poll) {
    server_.Get("/v2/keys/.*", [this, list, poll](const auto& request, auto& response) {
      const bool wait = request.has_param("wait");
      if (!wait) ++lists_;
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

TEST_CASE("v2: stop returns within a second from a poll and from a silent server") {
  telemetry::Metrics metrics;
  SECTION("poll") {
    TestEtcd etcd;
    Running source(Source(etcd.options(), metrics));
    REQUIRE(source.WaitForNames({}));
    CHECK(source.TimeStop() < milliseconds(1000));
  }
  SECTION("an etcd that has stopped working") {
    TestEtcd etcd;
    etcd.Pause();
    Running source(Source(etcd.options(), metrics));
    REQUIRE_FALSE(
        source.WaitFor([](const Seen& seen) { return seen.answers > 0; }, milliseconds(300)));
    CHECK(source.TimeStop() < milliseconds(1000));
    etcd.Resume();
  }
}

}  // namespace
}  // namespace podmirror::discovery
