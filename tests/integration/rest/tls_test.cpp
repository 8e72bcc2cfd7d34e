// REST over TLS: what clients get, right ones and wrong ones, and certificates that change
// meanwhile.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "certs/test_keyring.h"
#include "certs/test_rules.h"
#include "rest_testing.h"
#include "tls_client.h"

namespace podmirror::rest {
namespace {

using testing::TestAuthority;
using testing::TestDir;
using testing::TestKeyring;

constexpr std::size_t kLarge = 1 << 20;

struct Fixture {
  TestNodeOptions Options() const {
    return {.max_value_bytes = kLarge, .max_batch_bytes = kLarge, .keyring = keyring.get()};
  }

  // No deadline ends what something else should.
  TestNodeOptions Patient() const {
    TestNodeOptions options = Options();
    options.request_timeout_ms = 600'000;
    return options;
  }

  TestAuthority authority{"ca"};
  TestKeyring keyring{authority, authority.Issue("first")};
};

std::string Get(const std::string& key) { return MakeRequest("GET", "/v1/cache/1/" + key); }
std::string Put(const std::string& key, const std::string& value,
                const std::string& query = "?ack=local") {
  return MakeRequest("PUT", "/v1/cache/1/" + key + query, value);
}

// Whether the metric, with its labels, has this value.
bool Measured(const TestNode& node, const std::string& name, int value) {
  return node.metrics.Render().find("\n" + name + " " + std::to_string(value) + "\n") !=
         std::string::npos;
}
bool Open(const TestNode& node, int connections) {
  return Eventually([&] { return Measured(node, "podmirror_rest_connections", connections); });
}
bool RefusedForTls(const TestNode& node, int connections) {
  return Eventually(
      [&] { return Measured(node, "podmirror_tls_refused_total{where=\"rest\"}", connections); });
}

// A client that has sent half of the first message of its handshake.
std::unique_ptr<RawClient> HalfShaken(std::uint16_t port) {
  static const std::string message = TlsClient::FirstMessage();
  auto client = std::make_unique<RawClient>(port);
  client->Send(std::string_view(message).substr(0, message.size() / 2));
  return client;
}

TEST_CASE("tls: what is put is there, by TLS 1.2 and 1.3, with and without a certificate") {
  const Fixture f;
  TestNode node(f.Options());
  const TestAuthority::Leaf leaf = TestAuthority("other").Issue("client");
  const int version = GENERATE(TLS1_2_VERSION, TLS1_3_VERSION);
  for (const auto* shown : {static_cast<const TestAuthority::Leaf*>(nullptr), &leaf}) {
    TlsClient client(node.tls_port(), {.version = version, .leaf = shown});
    REQUIRE(client.open());
    CHECK(client.server() == "first");
    for (int i = 0; i < 20; ++i) {
      const std::string value = "v" + std::to_string(i);
      CHECK(client.Ask(Put("k", value))->status == 200);
      CHECK(client.Ask(Get("k"))->body == value);
    }
    CHECK(client.Ask(Get("absent"))->status == 404);
    CHECK(client.Ask(MakeRequest("GET", "/healthz", "", "Connection: close\r\n"))->status == 200);
    CHECK(client.Closed());  // with a word: nothing was cut off
  }
}

TEST_CASE("tls: requests may come in one record, in many, and in pieces of records") {
  const Fixture f;
  TestNode node(f.Options());
  std::string requests;
  for (int i = 0; i < 30; ++i) {
    const std::string key = "k" + std::to_string(i);
    requests += Put(key, "value of " + key) + Get(key);
  }
  TlsClient client(node.tls_port(), {.version = GENERATE(TLS1_2_VERSION, TLS1_3_VERSION)});
  SECTION("in one record") { REQUIRE(client.Send(requests)); }
  SECTION("in a record for each byte") {
    for (const char byte : requests) REQUIRE(client.Send({&byte, 1}));
  }
  SECTION("in one record, that comes byte by byte") {
    for (const char byte : client.Seal(requests)) REQUIRE(client.SendRaw({&byte, 1}));
  }
  for (int i = 0; i < 30; ++i) {
    REQUIRE(client.Read()->status == 200);
    REQUIRE(client.Read()->body == "value of k" + std::to_string(i));
  }
  CHECK_FALSE(client.HasInput());
}

TEST_CASE("tls: what came with a request that is answered late goes on behind it") {
  const Fixture f;
  TestNode node(f.Patient());
  node.AddReachablePeer("silent");
  TlsClient client(node.tls_port());
  const std::string late = Put("k", "v", "?timeout=1ms");
  const bool one_record = GENERATE(true, false);
  for (int i = 0; i < 60; ++i) {
    std::string records = client.Seal(one_record ? late + Get("k") : late);
    if (!one_record) records += client.Seal(Get("k"));
    REQUIRE(client.SendRaw(records));
    REQUIRE(client.Read()->status == 202);
    REQUIRE(client.Read()->body == "v");
  }
}

TEST_CASE("tls: new keys are taken now and then, and without end they end the connection") {
  const Fixture f;
  TestNode node(f.Patient());
  TlsClient client(node.tls_port());
  for (int i = 0; i < 200; ++i) {
    REQUIRE(client.SendRaw(client.NewKeys(1)));
    REQUIRE(client.Ask(Put("k", "v"))->status == 200);
    for (int k = 0; k < 4; ++k) REQUIRE(client.Ask(Get("k"))->body == "v");
  }
  // Each of them costs the server as much as a request.
  TlsClient busy(node.tls_port());
  const std::string keys = busy.NewKeys(20'000);
  const std::string request = busy.Seal(Get("k"));
  busy.SendRaw(keys);
  busy.SendRaw(request);
  CHECK(busy.ReadAll().empty());
  CHECK(client.Ask(Get("k"))->body == "v");
}

TEST_CASE("tls: who presents too many certificates is not let in") {
  const Fixture f;
  TestNode node(f.Options());
  node.cache.Merge(Entry::Make(1, "k", "secret", {1, 1}), 0);
  const TestAuthority::Leaf leaf = f.authority.Issue("client");
  CHECK(TlsClient(node.tls_port(), {.leaf = &leaf, .times = 10}).Ask(Get("k"))->body == "secret");
  for (const int times : {11, 200}) {
    TlsClient client(node.tls_port(), {.leaf = &leaf, .times = times});
    client.Send(Get("k"));
    CHECK(client.ReadAll().empty());
  }
}

TEST_CASE("tls: large values go both ways, and a slow reader holds up nobody") {
  const Fixture f;
  TestNodeOptions options = f.Options();
  options.workers = 1;
  TestNode node(options);
  std::string large(kLarge, ' ');
  for (std::size_t i = 0; i < kLarge; ++i) large[i] = static_cast<char>(i * i >> 5);
  TlsClient slow(node.tls_port());
  slow.FixReceiveBuffer();
  CHECK(slow.Ask(Put("large", large))->status == 200);
  // More than there is room for on the way: the answers are stuck until they are read.
  constexpr int kAnswers = 12;
  std::string requests;
  for (int i = 0; i < kAnswers; ++i) requests += Get("large");
  REQUIRE(slow.Send(requests));
  REQUIRE(slow.Receive(1));
  TlsClient other(node.tls_port());
  CHECK(other.Ask(Put("small", "v"))->status == 200);
  CHECK(other.Ask(Get("small"))->body == "v");
  // What is on its way is still the former when there is a new one.
  CHECK(other.Ask(Put("large", "short"))->status == 200);
  bool replaced = false;
  for (int i = 0; i < kAnswers; ++i) {
    const auto answer = slow.Read();
    REQUIRE(answer);
    replaced = replaced || answer->body == "short";
    REQUIRE((answer->body == large || answer->body == "short"));
  }
  CHECK(replaced);  // so they were stuck
}

TEST_CASE("tls: who does not speak TLS is told so, and gets nothing else") {
  const Fixture f;
  TestNode node(f.Patient());
  node.cache.Merge(Entry::Make(1, "k", "secret", {1, 1}), 0);
  RawClient http(node.tls_port());
  http.Send(Get("k") + Get("k"));
  const std::string told = http.ReadAll();
  CHECK(told.starts_with("HTTP/1.1 400 "));
  CHECK(told.find("https") != std::string::npos);
  CHECK(told.find("secret") == std::string::npos);
  int refused = 1;
  const std::string hello = TlsClient::FirstMessage();
  for (const std::string& bytes :
       {std::string("SSH-2.0-OpenSSH\r\n"), std::string(2000, '\0'), std::string(70'000, '\xff'),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Get("k"), hello.substr(0, 60) + Get("k"),
        hello + Get("k")}) {
    RawClient client(node.tls_port());
    client.Send(bytes);
    client.FinishSending();
    const std::string got = client.ReadAll();
    INFO(bytes.substr(0, 20));
    CHECK(got.find("HTTP") == std::string::npos);
    CHECK(got.find("secret") == std::string::npos);
    ++refused;
  }
  CHECK(RefusedForTls(node, refused));
  CHECK_FALSE(TlsClient(node.port()).open());  // TLS at the plain port
  CHECK(Open(node, 0));
  CHECK(TlsClient(node.tls_port()).Ask(Get("k"))->body == "secret");
}

TEST_CASE("tls: a handshake has its time; a connection after it may be idle for longer") {
  const Fixture f;
  TestNodeOptions options = f.Options();
  options.request_timeout_ms = 1000;  // enough for a handshake on a busy machine
  TestNode node(options);
  TlsClient idle(node.tls_port());
  REQUIRE(idle.open());
  RawClient silent(node.tls_port());
  const auto half = HalfShaken(node.tls_port());
  CHECK(silent.Closed());
  CHECK(half->Closed());
  CHECK(Open(node, 1));
  CHECK(idle.Ask(Get("absent"))->status == 404);
}

TEST_CASE("tls: clients that go away at any time leave nothing behind") {
  const Fixture f;
  TestNode node(f.Patient());
  const std::string large(kLarge, 'x');
  node.cache.Merge(Entry::Make(1, "large", large, {1, 1}), 0);
  for (int i = 0; i < 10; ++i) {
    TlsClient reader(node.tls_port());
    reader.FixReceiveBuffer();
    for (int k = 0; k < 8; ++k) REQUIRE(reader.Send(Get("large")));
    REQUIRE(reader.Receive(1000));  // in the middle of an answer
    const auto half = HalfShaken(node.tls_port());
    TlsClient writer(node.tls_port());
    const std::string records = writer.Seal(Put("cut", large));
    // Before the end of a request, and of a record.
    writer.SendRaw(std::string_view(records).substr(0, records.size() - 10));
  }
  CHECK(Open(node, 0));
  CHECK(TlsClient(node.tls_port()).Ask(Get("cut"))->status == 404);
}

TEST_CASE("tls: who ends its connection without a word gets the answer to what it had asked") {
  const Fixture f;
  TestNode node(f.Options());
  TlsClient client(node.tls_port());
  client.Send(Put("whole", "v") + Put("half", std::string(1000, 'x')).substr(0, 500));
  client.FinishSending();  // of the socket: TLS has not said that it ends
  CHECK(client.Read()->status == 200);
  CHECK(client.ReadAll().empty());
  CHECK(node.Ask("GET", "/v1/cache/1/whole").status == 200);
  CHECK(node.Ask("GET", "/v1/cache/1/half").status == 404);
  CHECK(Open(node, 0));
}

TEST_CASE("tls: a new certificate is shown to new connections, and the others go on") {
  Fixture f;
  TestNode node(f.Options());
  TlsClient before(node.tls_port());
  const TestAuthority::Leaf second = f.authority.Issue("second");
  // Its handshake begins with the former, and ends so.
  TlsClient meanwhile(node.tls_port(), {.halfway = [&] {
                        REQUIRE(Open(node, 2));
                        REQUIRE(f.keyring.Replace(second) == trust::Looked::kTaken);
                      }});
  REQUIRE(meanwhile.open());
  CHECK(meanwhile.server() == "first");
  TlsClient after(node.tls_port());
  CHECK(after.server() == "second");
  // A pair that does not match changes nothing.
  CHECK(f.keyring.Replace({.cert = f.authority.Issue("third").cert, .key = second.key}) ==
        trust::Looked::kRefused);
  CHECK(TlsClient(node.tls_port()).server() == "second");
  for (TlsClient* client : {&before, &meanwhile, &after}) {
    CHECK(client->Ask(Put("k", client->server()))->status == 200);
    CHECK(client->Ask(Get("k"))->body == client->server());
  }
}

// Lets nobody in but the client that this certificate is for.
struct GuardedFixture : Fixture {
  TestNodeOptions Guarded() const {
    TestNodeOptions options = Options();
    options.guard = guard.get();
    return options;
  }

  TestDir dir;
  std::unique_ptr<trust::Guard> guard =
      testing::GuardBy(dir,
                       "[[role]]\nname = \"all\"\nallow = [\"read\", \"write\"]\n"
                       "[[subject]]\ncert = \"CN=client\"\nname = \"client\"\nroles = [\"all\"]\n",
                       keyring.get());
  TestAuthority::Leaf leaf = authority.Issue("client");
  TestAuthority other{"other"};
};

TEST_CASE("tls: whom no authority believes any more may do nothing, on its old connection too") {
  GuardedFixture f;
  TestNode node(f.Guarded());
  const TestAuthority::Leaf wrong = f.other.Issue("client");
  TlsClient client(node.tls_port(), {.leaf = &f.leaf});
  CHECK(client.Ask(Put("k", "v"))->status == 200);
  TlsClient stranger(node.tls_port(), {.leaf = &wrong});
  const auto refused = stranger.Ask(Get("k"));
  CHECK(refused->status == 401);
  CHECK(refused->body.find("no authority in tls-ca has signed it") != std::string::npos);
  CHECK(TlsClient(node.tls_port()).Ask(Get("k"))->status == 401);
  REQUIRE(f.keyring.ReplaceAuthorities(f.other.pem()) == trust::Looked::kTaken);
  CHECK(client.Ask(Get("k"))->status == 401);
  CHECK(TlsClient(node.tls_port(), {.leaf = &wrong}).Ask(Get("k"))->body == "v");
}

// One connection after the other, each with a late answer and requests behind it. Returns how many
// of them did not go as they should.
int FailuresOf(std::uint16_t port, const TestAuthority::Leaf& leaf, int which,
               const std::atomic<bool>& stop) {
  int failures = 0;
  for (int i = 0; i < 5 || !stop; ++i) {
    const std::string key = "k" + std::to_string(which);
    const std::string value = std::to_string(i);
    TlsClient client(port, {.version = i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION,
                            .leaf = i % 3 == 0 ? nullptr : &leaf});
    const bool sent = client.open() && client.Send(Put(key, value, "?timeout=1ms") + Get(key) +
                                                   Put("shared", std::string(100'000, 'x')));
    const auto put = client.Read();
    const auto got = client.Read();
    const auto shared = client.Read();
    const bool known = i % 3 != 0;
    const bool right = sent && put && got && shared && put->status == (known ? 202 : 401) &&
                       shared->status == (known ? 200 : 401) &&
                       (known ? got->body == value : got->status == 401);
    failures += right ? 0 : 1;
  }
  return failures;
}

TEST_CASE("tls: while certificates, authorities and keys change, all clients are served") {
  GuardedFixture f;
  TestNode node(f.Guarded());
  node.AddReachablePeer("silent");
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> clients;
  for (int which = 0; which < 2; ++which) {
    clients.emplace_back(
        [&, which] { failures += FailuresOf(node.tls_port(), f.leaf, which, stop); });
  }
  int taken = 0;
  for (int i = 0; i < 20; ++i) {
    taken += f.keyring.Replace(f.authority.Issue("leaf")) == trust::Looked::kTaken ? 1 : 0;
    const std::string pem = i % 2 == 0 ? f.authority.pem() + f.other.pem() : f.authority.pem();
    taken += f.keyring.ReplaceAuthorities(pem) == trust::Looked::kTaken ? 1 : 0;
    CHECK(node.Ask("GET", "/healthz").status == 200);
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  CHECK(taken == 40);
  CHECK(failures == 0);
  CHECK(Open(node, 0));
}

TEST_CASE("tls: a stop waits for answers, and for no handshake") {
  const Fixture f;
  TestNode node(f.Options());
  node.AddReachablePeer("silent");
  TlsClient idle(node.tls_port());
  std::vector<std::unique_ptr<RawClient>> halves;
  for (int i = 0; i < 20; ++i) halves.push_back(HalfShaken(node.tls_port()));
  TlsClient busy(node.tls_port());
  REQUIRE(Open(node, 22));
  const bool owed = GENERATE(false, true);
  if (owed) {
    busy.Send(Put("k", "v", "?timeout=2s"));
    REQUIRE(Eventually([&] { return node.cache.Stats().entries == 1; }));
  }
  const auto begin = std::chrono::steady_clock::now();
  node.server.Stop(15'000);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
  for (const auto& half : halves) CHECK(half->ReadAll().empty());
  CHECK(idle.ReadAll().empty());
  if (owed) {
    CHECK(busy.Read()->status == 202);
    CHECK(busy.Closed());
  }
}

}  // namespace
}  // namespace podmirror::rest
