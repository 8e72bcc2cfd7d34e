// Which daemons a client believes, and what it shows them.
#include <atomic>
#include <functional>

#include "absl/strings/ascii.h"
#include "integration/client/tls_testing.h"

namespace podmirror::client {
namespace {

using Caller = FakeCache::Caller;

const std::vector<Item> kItem = {{1, "k", "v", {}}};

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Until the first attempt to connect has failed: only then is it known why.
bool WaitFailed(Tested& client) {
  return Eventually([&] { return client->GetDaemons().daemons[0].state == DaemonState::kFailed; });
}

TEST_CASE("all calls reach a daemon whose name is expected") {
  TlsFixture f;
  FakeCache daemon(
      Serving(f.authority.Issue({.dns = {kDaemonName}, .uris = {"spiffe://c/ns/shop/sa/daemon"}})));
  daemon.messages = daemon.entries_per_message = 3;
  const std::string name =
      GENERATE(kDaemonName, "*.daemons.test", "spiffe://c/ns/shop/sa/*", "A.Daemons.test");
  Tested client({daemon.port()}, f.WithTls({"*.x.test", name}));
  REQUIRE(client.WaitReady(1));
  CHECK(client->Set(kItem).ok());
  CHECK(client->Get(1, "k")->value == "v");
  CHECK(client->Delete({{1, "k"}}).ok());
  int entries = 0;
  CHECK(client->GetAll({}, [&](const Entry&) { return ++entries > 0; }).ok());
  CHECK(entries == 9);
  const bool address = name.find('*') != std::string::npos;
  CHECK(daemon.LastCaller().asked_for ==
        (address ? "127.0.0.1:" + std::to_string(daemon.port()) : absl::AsciiStrToLower(name)));
  CHECK(daemon.LastCaller().names.empty());
  CHECK(daemon.LastCaller().authorization.empty());
}

TEST_CASE("a name that is dialled is the name that is expected") {
  TlsFixture f;
  FakeCache good(Serving(f.authority.Issue({.dns = {"localhost"}})));
  FakeCache bad(Serving(f.Daemon()));
  const auto set = [&](const FakeCache& daemon) {
    Options options = f.WithTls({});
    options.deadline = milliseconds(500);
    options.peers = {"localhost:" + std::to_string(daemon.port())};
    const auto client = Client::New(options);
    REQUIRE(client.ok());
    return (*client)->Set(kItem).status();
  };
  CHECK(set(good).ok());
  const Status refused = set(bad);
  CHECK(refused.code() == Code::kUnavailable);
  CHECK(Has(refused.message(), "it carries a.daemons.test; expected localhost"));
  CHECK(bad.calls() == 0);
}

TEST_CASE("to a daemon whose certificate is not good nothing is sent") {
  struct Row {
    std::string what;
    std::function<Leaf(const Authority& ours, const Authority& other)> leaf;
    std::string told;
  };
  const LeafNames right = {.dns = {kDaemonName}};
  const auto row = GENERATE_COPY(values<Row>({
      {"another name",
       [](auto& ours, auto&) {
         return ours.Issue({.dns = {"a.b.daemons.test"}, .common_name = kDaemonName});
       },
       "TLS: no matching name in the daemon's certificate: it carries a.b.daemons.test; expected "
       "*.daemons.test"},
      {"no name", [](auto& ours, auto&) { return ours.Issue({}); },
       "TLS: no matching name in the daemon's certificate: it carries none"},
      {"another authority", [=](auto&, auto& other) { return other.Issue(right); },
       "TLS: certificate verify failed: it is expired, not valid yet, or not of"},
      {"expired", [=](auto& ours, auto&) { return ours.Issue(right, -3600); },
       "TLS: certificate verify failed: it is expired, not valid yet, or not of"},
  }));
  CAPTURE(row.what);
  TlsFixture f;
  const Authority other;
  FakeCache daemon(Serving(row.leaf(f.authority, other)));
  Options options = f.WithToken("secret");
  options.deadline = milliseconds(500);
  Tested client({daemon.port()}, options);
  REQUIRE(WaitFailed(client));
  for (const Status& status : {client->Set(kItem).status(), client->Get(1, "k").status(),
                               client->GetAll({}, [](const Entry&) { return true; })}) {
    CHECK(status.code() == Code::kUnavailable);
    CAPTURE(status.message());
    CHECK(Has(status.message(), row.told));
  }
  CHECK(daemon.calls() == 0);
}

TEST_CASE("without an authorities' file those of the system count") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  Options options = GENERATE(true, false) ? f.WithTls() : f.WithCertificate(f.NewClient());
  options.tls->ca.clear();
  options.deadline = milliseconds(500);
  Tested client({daemon.port()}, options);
  REQUIRE(WaitFailed(client));
  CHECK(client->Set(kItem).status().code() == Code::kUnavailable);
  CHECK(daemon.calls() == 0);
}

TEST_CASE("TLS is not left out, nor met by chance") {
  TlsFixture f;
  FakeCache plain, tls(Serving(f.Daemon()));
  Options options = f.WithTls();
  options.deadline = milliseconds(500);
  Tested careful({plain.port()}, options);
  CHECK(careful->Set(kItem).status().code() == Code::kUnavailable);
  CHECK(plain.calls() == 0);
  Tested careless({tls.port()}, {.deadline = milliseconds(500)});
  CHECK(careless->Set(kItem).status().code() == Code::kUnavailable);
  CHECK(tls.calls() == 0);
}

TEST_CASE("a client shows its certificate") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon(), &f.authority));
  const Leaf leaf = f.NewClient();
  Options options = f.WithCertificate(leaf);
  SECTION("in two files") {}
  SECTION("in one file") {
    options.tls->cert = options.tls->key = f.files.Write("both", leaf.cert + leaf.key);
  }
  Tested client({daemon.port()}, options);
  CHECK(client->Set(kItem).ok());
  CHECK(daemon.LastCaller().names == std::vector<std::string>{kClientName});
}

TEST_CASE("a daemon that wants another certificate is told as not reached") {
  TlsFixture f;
  const Authority other;
  FakeCache daemon(Serving(f.Daemon(), &f.authority));
  Options options =
      GENERATE(true, false) ? f.WithTls() : f.WithCertificate(other.Issue({.uris = {kClientName}}));
  options.deadline = milliseconds(500);
  Tested client({daemon.port()}, options);
  const Status status = client->Set(kItem).status();
  CAPTURE(status.message());
  CHECK(status.code() == Code::kUnavailable);
  CHECK(daemon.calls() == 0);
}

TEST_CASE("every call brings the token") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  daemon.messages = daemon.entries_per_message = 1;
  std::atomic<int> with{0}, without{0};
  daemon.AdmitIf([&](const Caller& caller) {
    ++(caller.authorization == "Bearer secret" ? with : without);
    return grpc::Status::OK;
  });
  Tested client({daemon.port()}, f.WithToken("secret"));
  CHECK(client->Set(kItem).ok());
  CHECK(client->Get(1, "k").ok());
  CHECK(client->Delete({{1, "k"}}).ok());
  CHECK(client->GetAll({}, [](const Entry&) { return true; }).ok());
  CHECK(with >= 5);  // a probe too
  CHECK(without == 0);
}

TEST_CASE("a token goes in plain only when told so") {
  TlsFixture f;
  FakeCache daemon;
  Options options = f.WithToken("secret");
  options.tls.reset();
  options.peers = {"127.0.0.1:" + std::to_string(daemon.port())};
  const Status refused = Client::New(options).status();
  CHECK(refused.code() == Code::kInvalid);
  CHECK(Has(refused.message(), "allow_token_without_tls"));
  CHECK(daemon.calls() == 0);
  options.allow_token_without_tls = true;
  const auto client = Client::New(options);
  REQUIRE(client.ok());
  CHECK((*client)->Set(kItem).ok());
  CHECK(daemon.LastCaller().authorization == "Bearer secret");
}

TEST_CASE("a client that is not known or may not is told so in the daemon's words") {
  TlsFixture f;
  FakeCache a(Serving(f.Daemon())), b(Serving(f.Daemon()));
  const auto code =
      GENERATE(grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::PERMISSION_DENIED);
  for (FakeCache* daemon : {&a, &b}) {
    daemon->AdmitIf([code](const Caller&) { return grpc::Status(code, "not you"); });
  }
  Tested client({a.port(), b.port()}, f.WithToken("secret"));
  REQUIRE(client.WaitReady(2));
  const auto asked = [&] { return a.gets + b.gets + a.sets + b.sets + a.streams + b.streams; };
  for (const Status& status : {client->Set(kItem).status(), client->Get(1, "k").status(),
                               client->GetAll({}, [](const Entry&) { return true; })}) {
    CHECK(status.code() == Code::kRefused);
    CHECK(Has(status.message(), "not you"));
  }
  CHECK(asked() == 3);
}

TEST_CASE("a registry lists plain ports; the TLS port is an option") {
  TlsFixture f;
  FakeCache plain, tls(Serving(f.Daemon()));
  Options options = f.WithTls();
  options.tls->port = static_cast<std::uint16_t>(tls.port());
  Tested client({plain.port()}, options);
  CHECK(client->Set(kItem).ok());
  CHECK(tls.sets == 1);
  CHECK(plain.calls() == 0);
}

}  // namespace
}  // namespace podmirror::client
