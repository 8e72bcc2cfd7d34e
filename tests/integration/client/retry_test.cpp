// Which calls are tried again, and where; deadlines; errors.
#include <atomic>
#include <future>
#include <thread>

#include "client/channel.h"
#include "client/verdict.h"
#include "integration/client/client_testing.h"
#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

using Mode = FakeCache::Mode;

const std::vector<Item> kItem = {{1, "k", "v", {}}};

TEST_CASE("entries go there and come back") {
  FakeCache daemon;
  Tested client({daemon.port()});
  const auto set = client->Set({{1, "k", std::string("\0\xff", 2), {}}, {-2, "ü", "", {}}},
                               {.ack = Ack::kOne, .ack_timeout = milliseconds(50)});
  REQUIRE(set.ok());
  CHECK(set->count == 2);
  CHECK(set->version == "v");
  CHECK(set->required == Ack::kMajority);
  CHECK_FALSE(set->met);
  CHECK(set->peers == 2);
  CHECK(set->acked == 1);
  CHECK(set->pending == std::vector<std::string>{"other"});
  CHECK(daemon.LastOptions().ack() == v1::ACK_LEVEL_ONE);
  CHECK(daemon.LastOptions().timeout_ms() == 50);

  const auto one = client->Get(1, "k");
  REQUIRE(one.ok());
  CHECK(one->value == std::string("\0\xff", 2));
  CHECK(one->ttl == milliseconds(77));
  const auto many = client->Get({{-2, "ü"}, {5, "absent"}, {1, "k"}});
  REQUIRE(many.ok());
  REQUIRE(many->size() == 2);
  CHECK((*many)[0].key == "ü");
  CHECK((*many)[1].key == "k");

  const auto deleted = client->Delete({{1, "k"}});
  REQUIRE(deleted.ok());
  CHECK(deleted->count == 1);
  CHECK(deleted->met);
  CHECK_FALSE(daemon.LastOptions().ack() == v1::ACK_LEVEL_DEFAULT);
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
}

TEST_CASE("what cannot be sent is refused before it is") {
  FakeCache daemon;
  Tested client({daemon.port()});
  for (const std::string& key : {std::string(), std::string("a\0b", 3), std::string("\xff")}) {
    CHECK(client->Get(1, key).status().code() == Code::kInvalid);
    CHECK(client->Set({{1, "good", "v", {}}, {1, key, "v", {}}})
              .status()
              .message()
              .starts_with("items[1]: "));
    CHECK(client->Delete({{1, key}}).status().code() == Code::kInvalid);
  }
  CHECK(client->Set({{1, "k", std::string(65 << 20, 'x'), {}}}).status().code() == Code::kInvalid);
  CHECK(client->Set(kItem, {.ack_timeout = milliseconds(-1)}).status().code() == Code::kInvalid);
  CHECK(daemon.gets + daemon.sets + daemon.deletes == 0);
  CHECK(Client::New({.peers = {"nonsense"}}).status().code() == Code::kInvalid);
  CHECK(Client::New({.peers = {}}).status().code() == Code::kInvalid);
  CHECK(Client::New({.peers = {"127.0.0.1:1"}, .deadline = milliseconds(0)}).status().code() ==
        Code::kInvalid);
}

TEST_CASE("an answer that is an error is the answer") {
  FakeCache a, b;
  const auto [sent, why, code] = GENERATE(table<grpc::StatusCode, std::string, Code>({
      {grpc::StatusCode::INVALID_ARGUMENT, "items[0]: x", Code::kInvalid},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "out-of-memory", Code::kExhausted},
      {grpc::StatusCode::PERMISSION_DENIED, "unauthorized", Code::kRefused},
  }));
  for (FakeCache* daemon : {&a, &b}) {
    daemon->on_set = [status = grpc::Status(sent, why)] { return status; };
  }
  Tested client({a.port(), b.port()});
  const auto set = client->Set(kItem);
  CHECK(set.status().code() == code);
  CHECK(set.status().message().find(why) != std::string::npos);
  CHECK(a.sets + b.sets == 1);
}

TEST_CASE("a write whose connection dies after it was sent is not sent again") {
  FakeCache a, b;
  CutProxy to_a(a.port()), to_b(b.port());
  for (auto& [daemon, proxy] : {std::pair(&a, &to_a), {&b, &to_b}}) {
    daemon->on_set = [proxy = proxy] {
      proxy->Cut();
      return grpc::Status::OK;
    };
  }
  Tested client({to_a.port(), to_b.port()});
  REQUIRE(client.WaitReady(2));
  const auto set = client->Set(kItem);
  CHECK(set.status().code() == Code::kUncertain);
  // The next one goes its way, so nothing of the first is left to be sent.
  REQUIRE(client.WaitReady(2));
  CHECK(a.sets + b.sets == 1);
}

TEST_CASE("a read whose connection dies is answered by another daemon") {
  FakeCache a, b;
  CutProxy to_a(a.port());
  Tested client({to_a.port(), b.port()});
  REQUIRE(client.WaitReady(2));
  REQUIRE(client->Set(kItem).ok());
  REQUIRE(client->Set(kItem).ok());
  for (int i = 0; i < 20; ++i) {
    REQUIRE(client.WaitReady(2));
    to_a.Cut();
    CHECK(client->Get(1, "k").ok());
    CHECK(client->Get(1, "k").ok());
  }
}

TEST_CASE("a write that is refused goes to the next daemon at once") {
  FakeCache a, b;
  Tested client({a.port(), b.port()});
  REQUIRE(client.WaitReady(2));
  a.mode = GENERATE(Mode::kNotReady, Mode::kDraining, Mode::kOverloaded);
  for (int i = 0; i < 10; ++i) CHECK(client->Set(kItem).ok());
  CHECK(client->Delete({{1, "k"}}).ok());
  CHECK(a.sets + a.deletes == 1);  // left out from then on
  CHECK(b.sets == 10);

  b.mode = a.mode.load();
  const auto refused = client->Set(kItem);
  CHECK(refused.status().code() == Code::kUnavailable);  // nothing was applied
}

TEST_CASE("a daemon that closes its port while it is written to costs no write") {
  FakeCache a, b;
  Tested client({a.port(), b.port()});
  std::atomic<bool> over{false};
  std::atomic<int> good{0}, bad{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      while (!over) ++(client->Set(kItem).ok() ? good : bad);
    });
  }
  bool found = true;
  for (int round = 0; round < 20; ++round) {
    const int before = a.sets;
    found = found && Eventually([&] { return a.sets > before + 10; });
    a.Stop(milliseconds(10'000));
    a.Start();
  }
  over = true;
  for (std::thread& writer : writers) writer.join();
  CHECK(found);
  CHECK(bad == 0);
  CHECK(a.sets + b.sets == good);
}

TEST_CASE("reads leave out who is not ready, and find who is again") {
  FakeCache a, b;
  a.mode = Mode::kNotReady;
  Tested client({a.port(), b.port()});
  for (int i = 0; i < 20; ++i) CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  CHECK(a.gets == 0);
  CHECK(Eventually([&] {
    const auto daemons = client->GetDaemons().daemons;
    return daemons[0].state == DaemonState::kNotReady && daemons[0].error == "not-ready";
  }));
  a.mode = Mode::kReady;
  REQUIRE(client.WaitReady(2));
  for (int i = 0; i < 20; ++i) CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  CHECK(a.gets == 10);
}

TEST_CASE("a draining daemon is read from only where there is no other") {
  FakeCache a;
  a.mode = Mode::kDraining;
  Tested client({a.port()}, {.deadline = milliseconds(500)});
  CHECK(client->Set(kItem).status().code() == Code::kUnavailable);
  CHECK(client->GetDaemons().daemons[0].state == DaemonState::kDraining);
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  FakeCache b;
  client.source->Tell({a.port(), b.port()});
  REQUIRE(client.WaitReady(1));
  for (int i = 0; i < 10; ++i) CHECK(client->Set(kItem).ok());
  for (int i = 0; i < 10; ++i) CHECK(client->Get(1, "k").ok());
  CHECK(a.sets == 1);
  CHECK(a.gets == 1);
  // Its end, and what is started in its place.
  a.Stop();
  a.mode = Mode::kReady;
  a.Start();
  CHECK(client.WaitReady(2));
  CHECK(Eventually([&] { return client->Set(kItem).ok() && a.sets > 1; }));
}

TEST_CASE("a probe from before does not call a daemon ready that has said since that it drains") {
  FakeCache a;
  Tested client({a.port()}, {.deadline = milliseconds(2000)});
  REQUIRE(client.WaitReady(1));
  std::atomic<bool> answer{false};
  a.on_set = [&] {
    (void)Eventually([&] { return answer.load(); });
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  auto set = std::async(std::launch::async, [&] { return client->Set(kItem).status(); });
  REQUIRE(Eventually([&] { return a.sets == 1; }));
  a.mode = Mode::kNotReady;
  CHECK(client->Get(1, "k").status().code() == Code::kUnavailable);
  a.mode = Mode::kHang;  // the next probe is answered only later
  REQUIRE(Eventually([&] { return a.hanging > 0; }));
  answer = true;
  CHECK(set.get().code() == Code::kUnavailable);
  CHECK(client->GetDaemons().daemons[0].state == DaemonState::kDraining);
  a.mode = Mode::kDraining;  // which answers reads, and so that probe
  CHECK(client->Set(kItem).status().code() == Code::kUnavailable);
  CHECK(a.sets == 1);  // nobody has asked it again
}

TEST_CASE("a daemon that hangs costs a read a part of its deadline, once") {
  FakeCache a, b;
  Tested client({a.port(), b.port()}, {.deadline = milliseconds(2000)});
  REQUIRE(client.WaitReady(2));
  a.mode = Mode::kHang;
  const Stopwatch watch;
  for (int i = 0; i < 50; ++i) CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  CHECK(watch.elapsed() < milliseconds(1500));
  CHECK(a.gets == 1);
  CHECK(b.gets == 50);
  a.mode = Mode::kReady;
  CHECK(client.WaitReady(2));
}

TEST_CASE("deadlines are kept") {
  FakeCache a, b;
  Tested client({a.port(), b.port()}, {.deadline = milliseconds(400)});
  REQUIRE(client.WaitReady(2));
  a.mode = b.mode = Mode::kHang;
  const Stopwatch read_watch;
  const auto read = client->Get(1, "k");
  CHECK(read.status().code() == Code::kDeadline);
  CHECK(read_watch.elapsed() < milliseconds(2000));
  CHECK(read_watch.elapsed() >= milliseconds(395));
  a.mode = b.mode = Mode::kReady;
  REQUIRE(client.WaitReady(2));

  a.mode = b.mode = Mode::kHang;
  const int before = a.sets + b.sets;
  const Stopwatch write_watch;
  CHECK(client->Set(kItem).status().code() == Code::kUncertain);
  CHECK(write_watch.elapsed() < milliseconds(2000));
  CHECK(a.sets + b.sets == before + 1);
  // The time for acknowledgements comes on top.
  a.mode = b.mode = Mode::kReady;
  REQUIRE(client.WaitReady(2));
  a.mode = b.mode = Mode::kHang;
  const Stopwatch longer_watch;
  CHECK(client->Set(kItem, {.ack_timeout = milliseconds(300)}).status().code() == Code::kUncertain);
  CHECK(longer_watch.elapsed() >= milliseconds(695));
}

TEST_CASE("no daemon: unavailable in time, with the reason") {
  int port = 0;
  {
    FakeCache gone;
    port = gone.port();
  }
  Tested client({port}, {.deadline = milliseconds(300)});
  const Stopwatch watch;
  const auto read = client->Get(1, "k");
  CHECK(read.status().code() == Code::kUnavailable);
  CHECK(read.status().message().find("connection refused") != std::string::npos);
  CHECK(client->Set(kItem).status().code() == Code::kUnavailable);
  Tested lost({}, {.deadline = milliseconds(300)});
  CHECK(lost->Get(1, "k").status().message() == "no daemon is known: none is listed");
  lost.source->Fail("no such name");
  CHECK(lost->Get(1, "k").status().message() == "no daemon is known: no such name");
  CHECK(lost->GetDaemons().discovery_error == "no such name");
  CHECK(watch.elapsed() < milliseconds(3000));
}

TEST_CASE("it is known when a call found no connection") {
  FakeCache daemon;
  CutProxy proxy(daemon.port());
  daemon.on_set = [&] {
    proxy.Cut();
    return grpc::Status::OK;
  };
  int closed = 0;
  {
    FakeCache gone;
    closed = gone.port();
  }
  for (const auto& [port, sent] : {std::pair(closed, false), {proxy.port(), true}}) {
    const auto target = net::GrpcTargetOf(SetOf({port}).peers[0]);
    REQUIRE(target.ok());
    const auto stub = v1::Cache::NewStub(NewChannel(*target, nullptr, nullptr));
    grpc::ClientContext context;
    v1::SetRequest request;
    v1::SetResponse response;
    const Verdict verdict = Judge(stub->Set(&context, request, &response));
    CHECK((verdict.outcome == Outcome::kLost) == sent);
    CHECK((verdict.outcome == Outcome::kNotSent) != sent);
  }
}

TEST_CASE("no more calls than the limit says") {
  FakeCache daemon;
  daemon.mode = Mode::kHang;
  Tested client({daemon.port()}, {.deadline = milliseconds(200), .max_calls = 1});
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) static_cast<void>(client->Get(1, "k"));
  });
  CHECK(Eventually([&] {
    return client->GetAll({}, [](const Entry&) { return true; }).code() == Code::kExhausted;
  }));
  over = true;
  other.join();
}

}  // namespace
}  // namespace podmirror::client
