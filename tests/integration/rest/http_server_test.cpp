#include "rest/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "integration/eventually.h"
#include "raw_client.h"

namespace podmirror::rest {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Answers "/now…" with the target, "/size/N" with N bytes, "/slow" after 200 ms, "/urgent" first,
// and keeps what asks for "/later…".
class TestHandler final : public Handler {
 public:
  std::optional<Response> Handle(const Request& request,
                                 const std::shared_ptr<Responder>& responder) override {
    const std::string target(request.target);
    if (target.starts_with("/later")) {
      const std::lock_guard lock(mu_);
      waiting_.push_back(responder);
      arrived_.notify_all();
      return std::nullopt;
    }
    if (target == "/at-once") {
      responder->Answer(Text("at once"));
      return std::nullopt;
    }
    if (target == "/slow") std::this_thread::sleep_for(200ms);
    if (target.starts_with("/size/")) return Text(std::string(std::stoul(target.substr(6)), 'x'));
    if (target.starts_with("/entry/")) {
      Response response = Text("");
      response.value = Entry::Make(1, "k", std::string(std::stoul(target.substr(7)), 'e'), {1, 1});
      return response;
    }
    return Text(target + " " + std::string(request.body));
  }
  void Round(absl::FunctionRef<void()> work) override { work(); }
  bool IsUrgent(std::string_view target) const override { return target == "/urgent"; }
  void HandshakeFailed() override {}
  void Refused(int) override {}
  void Connections(int change) override { open += change; }
  bool Holds(const Entry&) const override {
    ++asked;
    return holds;
  }

  std::atomic<int> open{0};
  std::atomic<bool> holds{true};      // what Holds says
  mutable std::atomic<int> asked{0};  // how often Holds was called

  static Response Text(std::string body) {
    Response response;
    response.content_type = "text/plain";
    response.body = std::move(body);
    return response;
  }

  // Waits until `count` requests are kept, and takes them.
  std::vector<std::shared_ptr<Responder>> TakeWaiting(std::size_t count) {
    std::unique_lock lock(mu_);
    REQUIRE(arrived_.wait_for(lock, 20s, [&] { return waiting_.size() >= count; }));
    return std::exchange(waiting_, {});
  }

 private:
  std::mutex mu_;
  std::condition_variable arrived_;
  std::vector<std::shared_ptr<Responder>> waiting_;
};

struct TestServer {
  explicit TestServer(HttpOptions options = {}, Env& env = Env::Real())
      : server(WithAddress(options), handler, env) {
    REQUIRE(server.Start().ok());
  }
  static HttpOptions WithAddress(HttpOptions options) {
    options.ports = {{.listen = "127.0.0.1:0"}};
    return options;
  }
  std::uint16_t port() const { return server.port(PortKind::kPlain); }

  TestHandler handler;
  HttpServer server;
};

// The machine's clocks, ahead by as much as the test says.
class ShiftedEnv final : public Env {
 public:
  Now now() const override {
    const Now real = Env::Real().now();
    return {real.steady + ahead_ms, real.wall + ahead_ms};
  }
  std::uint64_t Random() override { return Env::Real().Random(); }

  std::atomic<std::int64_t> ahead_ms{0};
};

std::string Get(std::string_view target) { return MakeRequest("GET", target); }

TEST_CASE("http: an answer from another thread keeps the order of pipelined requests") {
  TestServer test;
  RawClient client(test.port());
  client.Send(Get("/a") + Get("/later/1") + Get("/b") + Get("/later/2") + Get("/c"));
  CHECK(client.Read()->body == "/a ");
  const auto first = test.handler.TakeWaiting(1);
  CHECK_FALSE(client.HasInput());
  std::thread([&] { first[0]->Answer(TestHandler::Text("one")); }).join();
  CHECK(client.Read()->body == "one");
  CHECK(client.Read()->body == "/b ");
  test.handler.TakeWaiting(1)[0]->Answer(TestHandler::Text("two"));
  CHECK(client.Read()->body == "two");
  CHECK(client.Read()->body == "/c ");
}

TEST_CASE("http: what is pipelined behind a late answer goes on at once") {
  TestServer test;
  RawClient client(test.port());
  const auto begin = Clock::now();
  for (int i = 0; i < 60; ++i) {
    client.Send(Get("/later") + Get("/b"));
    test.handler.TakeWaiting(1)[0]->Answer(TestHandler::Text("done"));
    CHECK(client.Read()->body == "done");
    CHECK(client.Read()->body == "/b ");
  }
  CHECK(Clock::now() - begin < 4s);
}

TEST_CASE("http: an answer inside the handler, then the connection goes on") {
  TestServer test;
  RawClient client(test.port());
  for (int i = 0; i < 100; ++i) CHECK(client.Ask(Get("/at-once"))->body == "at once");
  client.Send(Get("/at-once") + Get("/at-once") + Get("/x"));
  CHECK(client.Read()->body == "at once");
  CHECK(client.Read()->body == "at once");
  CHECK(client.Read()->body == "/x ");
}

TEST_CASE("http: many connections wait for answers at once, and the others are served") {
  TestServer test;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->Send(Get("/later"));
  }
  auto waiting = test.handler.TakeWaiting(200);
  CHECK(RawClient(test.port()).Ask(Get("/x"))->body == "/x ");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = static_cast<std::size_t>(t); i < waiting.size(); i += 4) {
        waiting[i]->Answer(TestHandler::Text("done"));
        waiting[i].reset();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto& client : clients) {
    CHECK(client->Read()->body == "done");
    CHECK(client->Ask(Get("/y"))->body == "/y ");
  }
}

TEST_CASE("http: a client that goes away while its answer is owed does no harm") {
  TestServer test;
  {
    RawClient client(test.port());
    client.Send(Get("/later") + Get("/b"));
    RawClient half(test.port());
    half.Send(Get("/later"));
    half.FinishSending();
    const auto waiting = test.handler.TakeWaiting(2);
    for (const auto& responder : waiting) responder->Answer(TestHandler::Text("done"));
    CHECK(half.Read()->body == "done");
    CHECK(half.Closed());
  }
  RawClient gone(test.port());
  gone.Send(Get("/later"));
  const auto waiting = test.handler.TakeWaiting(1);
  {
    RawClient moved(test.port());
    moved.Send(Get("/later"));
  }
  test.handler.TakeWaiting(1)[0]->Answer(TestHandler::Text(std::string(1'000'000, 'x')));
  waiting[0]->Answer(TestHandler::Text("done"));
  CHECK(gone.Read()->body == "done");
  CHECK(RawClient(test.port()).Ask(Get("/x"))->status == 200);
}

TEST_CASE("http: an answer may come after the server has stopped, and after it is gone") {
  auto test = std::make_unique<TestServer>();
  RawClient client(test->port());
  client.Send(Get("/later") + Get("/b"));
  RawClient other(test->port());
  other.Send(Get("/later"));
  auto waiting = test->handler.TakeWaiting(2);
  test->server.Stop();
  CHECK(client.Closed());
  waiting[0]->Answer(TestHandler::Text("late"));
  test.reset();
  waiting[1]->Answer(TestHandler::Text("later"));
}

TEST_CASE("http: a request in flight is finished when the server stops, idle connections end") {
  TestServer test;
  RawClient idle(test.port());
  CHECK(idle.Ask(Get("/x"))->status == 200);
  RawClient busy(test.port());
  busy.Send(Get("/later"));
  const auto waiting = test.handler.TakeWaiting(1);
  std::thread stopping([&] { test.server.Stop(); });
  CHECK(idle.Closed());
  // Nobody comes in who would only be cut off.
  CHECK_FALSE(RawClient(test.port()).connected());
  waiting[0]->Answer(TestHandler::Text("finished"));
  const auto answer = busy.Read();
  CHECK(answer->body == "finished");
  CHECK(answer->fields.at("connection") == "close");
  CHECK(busy.Closed());
  stopping.join();
}

TEST_CASE("http: a large answer to a slow reader does not stall others, nor is it lost") {
  TestServer test;
  const std::string target = GENERATE("/size/20000000", "/entry/20000000");
  RawClient slow(test.port());
  slow.FixReceiveBuffer();
  slow.Send(Get(target) + Get("/behind"));
  for (int i = 0; i < 50; ++i) {
    CHECK(RawClient(test.port()).Ask(Get("/x"))->body == "/x ");
  }
  CHECK(slow.Read()->body.size() == 20'000'000);
  CHECK(slow.Read()->body == "/behind ");
}

TEST_CASE("http: answers that nobody takes are bounded in memory and in time") {
  // Long enough for all to ask before the first are cut, on a busy machine too.
  TestServer test({.request_timeout_ms = 3000});
  std::vector<std::unique_ptr<RawClient>> clients;
  const std::int64_t before = ResidentBytes();
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->FixReceiveBuffer();
    clients.back()->Send(Get("/size/8000000"));
  }
  CHECK(RawClient(test.port()).Ask(Get("/x"))->status == 200);
  CHECK(ResidentBytes() - before < (64 << 20));
  // Those that are stuck are cut after the timeout, which makes room for others.
  CHECK(Eventually([&] {
    const auto answer = RawClient(test.port()).Ask(Get("/size/30000000"));
    return answer && answer->status == 200;
  }));
  int overloaded = 0;
  int cut = 0;
  for (auto& client : clients) {
    const auto answer = client->Read();
    if (!answer) ++cut;
    if (answer && answer->status == 503) ++overloaded;
  }
  CHECK(overloaded > 0);
  CHECK(cut > 0);
  CHECK(overloaded + cut == 100);
}

TEST_CASE("http: entries that slow readers hold count once they have been replaced") {
  TestServer test;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->FixReceiveBuffer();
    clients.back()->Send(Get("/entry/8000000"));
  }
  CHECK(Eventually([&] { return test.handler.asked >= 30; }));
  CHECK(test.handler.open == 10);
  test.handler.holds = false;
  CHECK(Eventually([&] { return test.handler.open == 4; }));
  int complete = 0;
  for (auto& client : clients) {
    const auto answer = client->Read();
    complete += answer && answer->body.size() == 8'000'000 ? 1 : 0;
  }
  CHECK(complete == 4);
}

TEST_CASE("http: urgent requests are answered between slow ones") {
  TestServer test;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<RawClient>(test.port()));
    clients.back()->Send(Get("/slow"));
  }
  for (int i = 0; i < 4; ++i) {
    const auto begin = Clock::now();
    CHECK(RawClient(test.port()).Ask(Get("/urgent"))->status == 200);
    CHECK(Clock::now() - begin < 900ms);
  }
  for (auto& client : clients) CHECK(client->Read()->status == 200);
}

TEST_CASE("http: connections beyond the limit get one answer, urgent ones a good one") {
  TestServer test({.max_connections = 10});
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<RawClient>(test.port()));
    if (i < 10) CHECK(idle.back()->Ask(Get("/x"))->status == 200);
  }
  RawClient surplus(test.port());
  const auto refused = surplus.Ask(Get("/x"));
  CHECK(refused->status == 503);
  CHECK(refused->problem() == "overloaded");
  CHECK(refused->fields.at("connection") == "close");
  CHECK(surplus.Closed());
  const auto begin = Clock::now();
  CHECK(RawClient(test.port()).Ask(Get("/urgent"))->status == 200);
  CHECK(Clock::now() - begin < 1s);
  CHECK(idle[0]->Ask(Get("/x"))->status == 200);
  // A silent surplus connection is told so and ended.
  RawClient silent(test.port());
  CHECK(silent.Read()->status == 503);
  CHECK(silent.Closed());
  idle.clear();
  const auto deadline = Clock::now() + 10s;
  int status = 0;
  while (status != 200 && Clock::now() < deadline) {
    status = RawClient(test.port()).Ask(Get("/x"))->status;
  }
  CHECK(status == 200);
}

TEST_CASE("http: 100 Continue is said before the body, not after a refusal") {
  TestServer test;
  RawClient client(test.port());
  client.Send("PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(client.Read()->status == 100);
  CHECK(client.Ask("ab")->body == "/x ab");
  const auto refused = client.Ask(
      "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n");
  CHECK(refused->status == 413);
}

TEST_CASE("http: a refused HEAD gets no body") {
  TestServer test({.request_timeout_ms = 500});
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, int>>{
           {"HEAD /x HTTP/1.1\r\n\r\n", 400},
           {"\r\nHEAD x HTTP/1.1\r\nHost: h\r\n\r\n", 400},
           {"HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", 413},
           {"HEAD /" + std::string(kMaxHeadBytes, 'a'), 431},
           {"HEAD /x HTTP/1.1\r\n", 408},
       }) {
    CAPTURE(status);
    RawClient client(test.port());
    client.Send(bytes);
    const auto answer = client.Read(false);
    REQUIRE(answer);
    CHECK(answer->status == status);
    CHECK(answer->fields.at("content-length") != "0");
    CHECK(client.Closed());
  }
}

TEST_CASE("http: connections stay open or end as the client asks") {
  TestServer test;
  RawClient old(test.port());
  CHECK(old.Ask("GET /x HTTP/1.0\r\n\r\n")->fields.at("connection") == "close");
  CHECK(old.Closed());
  RawClient keeps(test.port());
  // HTTP/1.0 closes what is not said to be kept.
  const std::string old_keeps = "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  CHECK(keeps.Ask(old_keeps)->fields.at("connection") == "keep-alive");
  CHECK(keeps.Ask(old_keeps)->fields.at("connection") == "keep-alive");
  CHECK_FALSE(keeps.Ask(Get("/x"))->fields.contains("connection"));
  const auto last = keeps.Ask(MakeRequest("GET", "/x", "", "Connection: close\r\n"));
  CHECK(last->fields.at("connection") == "close");
  CHECK(keeps.Closed());
}

TEST_CASE("http: an idle connection outlives those that proxies keep for a minute, and ends") {
  ShiftedEnv env;
  TestServer test({.workers = 1}, env);
  RawClient first(test.port());
  REQUIRE(Eventually([&] { return test.handler.open == 1; }));
  env.ahead_ms += 20'000;
  RawClient silent(test.port());
  RawClient asked(test.port());
  CHECK(asked.Ask(Get("/x"))->status == 200);
  // What ended the first one has looked at the others, too.
  env.ahead_ms += 75'000;
  CHECK(first.Closed());
  CHECK(asked.Ask(Get("/x")).has_value());
  CHECK(silent.Ask(Get("/x")).has_value());
  env.ahead_ms += 95'000;
  CHECK(asked.Closed());
  CHECK(silent.Closed());
}

// Time passes, and the server looks for connections whose time is over. Requires: one worker.
void AwaitSweep(const TestServer& test, ShiftedEnv& env, std::int64_t ahead_ms) {
  RawClient partial(test.port());
  partial.Send("GET");
  CHECK(RawClient(test.port()).Ask(Get("/x"))->status == 200);
  env.ahead_ms += ahead_ms;
  CHECK(partial.Read()->status == 408);
  CHECK(partial.Closed());
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());  // it has looked at all of them
}

TEST_CASE("http: a connection is idle once a large answer is complete") {
  ShiftedEnv env;
  TestServer test({.workers = 1}, env);
  const std::string target = GENERATE("/size/20000000", "/entry/20000000");
  RawClient client(test.port());
  client.FixReceiveBuffer();
  CHECK(client.Ask(Get(target))->body.size() == 20'000'000);
  AwaitSweep(test, env, 75'000);
  CHECK(client.Ask(Get("/x")).has_value());
}

TEST_CASE("http: a connection is idle when only a blank line came, in two parts") {
  ShiftedEnv env;
  TestServer test({.workers = 1}, env);
  RawClient fresh(test.port());
  fresh.Send("\r");
  RawClient used(test.port());
  CHECK(used.Ask(Get("/x") + "\r").has_value());
  // The only worker has seen the first part when it answers another client.
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());
  fresh.Send("\n");
  used.Send("\n");
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());
  AwaitSweep(test, env, 75'000);
  for (RawClient* client : {&fresh, &used}) {
    const auto answer = client->Ask(Get("/x"));
    REQUIRE(answer);
    CHECK(answer->status == 200);
  }
}

TEST_CASE("http: a slow but steady reader gets all of a large answer") {
  ShiftedEnv env;
  TestServer test({.workers = 1}, env);
  RawClient client(test.port());
  client.FixReceiveBuffer();
  // Of the first answer much is still in the socket when the second one begins.
  client.Send(Get("/entry/1000000") + Get("/entry/20000000"));
  REQUIRE(client.Receive(1'100'000));
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());  // the only worker waits for us now
  // 512 KiB each 11 s, where 64 KiB each 10 s are asked for.
  for (std::size_t i = 1; i <= 8; ++i) {
    REQUIRE(client.Receive(1'100'000 + i * 512 * 1024));
    AwaitSweep(test, env, 11'000);
  }
  for (const std::size_t size : {1'000'000u, 20'000'000u}) {
    const auto answer = client.Read();
    REQUIRE(answer);
    CHECK(answer->body.size() == size);
  }
}

TEST_CASE("http: a request that comes behind a slow answer has its own time") {
  ShiftedEnv env;
  TestServer test({.workers = 1}, env);
  RawClient client(test.port());
  client.FixReceiveBuffer();
  const std::string next = Get("/x");
  client.Send(Get("/entry/20000000") + next.substr(0, 10));
  REQUIRE(client.Receive(1));
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());  // the only worker waits for us now
  REQUIRE(client.Receive(512 * 1024));
  AwaitSweep(test, env, 11'000);  // a request may take 10 s
  RawClient early(test.port());
  early.Send("GET");
  CHECK(RawClient(test.port()).Ask(Get("/x")).has_value());
  env.ahead_ms += 6'000;
  REQUIRE(client.Read());
  env.ahead_ms += 5'000;
  CHECK(early.Read()->status == 408);
  client.Send(next.substr(10));
  const auto answer = client.Read();
  REQUIRE(answer);
  CHECK(answer->status == 200);
}

TEST_CASE("http: every answer tells its time, and that it is not to be kept") {
  ShiftedEnv env;
  TestServer test({.max_connections = 2}, env);
  // 2033-05-18T03:33:20Z, and some seconds more while the test runs.
  env.ahead_ms = 2'000'000'000'000 - Env::Real().now().wall;
  RawClient client(test.port());
  RawClient refused(test.port());
  const auto asked = client.Ask(Get("/x"));
  const auto bad = refused.Ask("nonsense\r\n\r\n");
  const auto surplus = RawClient(test.port()).Ask(Get("/x"));
  for (const auto& answer : {asked, bad, surplus}) {
    REQUIRE(answer);
    CHECK_THAT(answer->fields.at("date"), Catch::StartsWith("Wed, 18 May 2033 03:3"));
    CHECK_THAT(answer->fields.at("date"), Catch::EndsWith(" GMT"));
    CHECK(answer->fields.at("cache-control") == "no-cache");
  }
  CHECK((asked->status == 200 && bad->status == 400 && surplus->status == 503));
  env.ahead_ms += 86'400'000;
  REQUIRE(Eventually([&] { return test.handler.open == 0; }));
  const auto later = RawClient(test.port()).Ask(Get("/x"));
  CHECK_THAT(later->fields.at("date"), Catch::StartsWith("Thu, 19 May 2033"));
}

TEST_CASE("http: what a client goes on sending does not cost it the last answer") {
  TestServer test;
  RawClient client(test.port());
  client.Send(Get("/later"));
  const auto waiting = test.handler.TakeWaiting(1);
  std::thread stopping([&] { test.server.Stop(); });
  REQUIRE(Eventually([&] { return !RawClient(test.port()).connected(); }));
  waiting[0]->Answer(TestHandler::Text("done"));
  // It does not know yet that this was the last one. A reset now would take the answer away from
  // it on some systems.
  CHECK(client.Send(Get("/x") + std::string(8 << 20, 'x')));
  const auto answer = client.Read();
  REQUIRE(answer);
  CHECK(answer->fields.at("connection") == "close");
  CHECK(client.Closed());
  stopping.join();
}

TEST_CASE("http: a taken port is an error with its reason") {
  TestServer test;
  TestHandler handler;
  const std::string taken = "127.0.0.1:" + std::to_string(test.port());
  HttpServer second({.ports = {{.listen = taken}}}, handler, Env::Real());
  const Status status = second.Start();
  CHECK(status.code() == Code::kUnavailable);
  CHECK(status.message().find("Address already in use") != std::string::npos);
  HttpServer nowhere({.ports = {{.listen = "nonsense"}}}, handler, Env::Real());
  CHECK(nowhere.Start().code() == Code::kInvalid);
}

TEST_CASE("http: all files that the system grants may be opened") {
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 256);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  TestServer test;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(limit.rlim_cur == limit.rlim_max);
}

TEST_CASE("http: [::] listens on IPv4 too") {
  TestHandler handler;
  HttpServer server({.ports = {{.listen = "[::]:0"}}}, handler, Env::Real());
  REQUIRE(server.Start().ok());
  CHECK(RawClient(server.port(PortKind::kPlain)).Ask(Get("/x"))->status == 200);
}

}  // namespace
}  // namespace podmirror::rest
