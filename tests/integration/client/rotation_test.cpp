// Files of certificates and tokens that change while a client runs.
#include <atomic>
#include <thread>

#include "client/channel.h"
#include "client/credentials.h"
#include "client/verdict.h"
#include "integration/client/tls_testing.h"
#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

using Caller = FakeCache::Caller;

const std::vector<Item> kItem = {{1, "k", "v", {}}};

// Until a look from before is too old.
void WaitFor(SteadyMs age) {
  const Stopwatch watch;
  REQUIRE(Eventually([&] { return watch.elapsed().count() > age; }));
}

void AdmitToken(FakeCache& daemon, const std::string& token) {
  daemon.AdmitIf([wanted = "Bearer " + token](const Caller& caller) {
    if (caller.authorization == wanted) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "unknown token");
  });
}

void AdmitName(FakeCache& daemon, const std::string& name) {
  daemon.AdmitIf([name](const Caller& caller) {
    if (caller.names == std::vector<std::string>{name}) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "unknown name");
  });
}

TEST_CASE("a new token is brought soon, on the connection that is there") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  CutProxy proxy(daemon.port());
  Tested client({proxy.port()}, f.WithToken("old"));
  CHECK(client->Set(kItem).ok());
  f.files.Write("token", "new");
  CHECK(Eventually([&] {
    CHECK(client->Set(kItem).ok());
    return daemon.LastCaller().authorization == "Bearer new";
  }));
  CHECK(proxy.made() == 1);
}

TEST_CASE("a token that is no longer good is read again, and the call made again, once") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  CutProxy proxy(daemon.port());
  daemon.messages = daemon.entries_per_message = 1;
  AdmitToken(daemon, "old");
  Tested client({proxy.port()}, f.WithToken("old"));
  const auto call = [&, which = GENERATE(0, 1, 2)] {
    if (which == 0) return client->Set(kItem).status();
    if (which == 1) return client->Get({{1, "k"}}).status();
    return client->GetAll({}, [](const Entry&) { return true; });
  };
  const auto calls = [&] { return daemon.sets + daemon.gets + daemon.streams; };
  REQUIRE(call().ok());
  CHECK(calls() == 1);
  AdmitToken(daemon, "new");
  f.files.Write("token", "new");
  CHECK(call().ok());
  CHECK(calls() == 3);
  CHECK(proxy.made() == 2);
  // The file has not changed: nothing to try.
  AdmitToken(daemon, "newest");
  REQUIRE(client.WaitReady(1));
  CHECK(call().code() == Code::kRefused);
  CHECK(calls() == 4);
  // It has, but not to what the daemon wants.
  f.files.Write("token", "other");
  CHECK(call().code() == Code::kRefused);
  CHECK(calls() == 6);
  f.files.Write("token", "newest");
  CHECK(call().ok());
}

TEST_CASE("many calls that are refused at the same time share one new connection") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  CutProxy proxy(daemon.port());
  Tested client({proxy.port()}, f.WithToken("old"));
  REQUIRE(client.WaitReady(1));
  std::atomic<int> refused{0};
  daemon.AdmitIf([&](const Caller& caller) {
    if (caller.authorization == "Bearer new") return grpc::Status::OK;
    ++refused;
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "unknown token");
  });
  f.files.Write("token", "new");
  std::atomic<int> good{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&] {
      for (int k = 0; k < 20; ++k) good += client->Set(kItem).ok() ? 1 : 0;
    });
  }
  for (std::thread& writer : writers) writer.join();
  CHECK(good == 160);
  CHECK(daemon.sets <= 160 + refused);
  CHECK(proxy.made() <= 3);
}

TEST_CASE("the next connection shows the new certificate, the one that is there stays") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon(), &f.authority));
  CutProxy proxy(daemon.port());
  Tested client({proxy.port()}, f.WithCertificate(f.NewClient("spiffe://c/old")));
  CHECK(client->Set(kItem).ok());
  const Leaf next = f.NewClient("spiffe://c/new");
  f.files.Write("cert", next.cert);
  f.files.Write("key", next.key);
  WaitFor(Credentials::kForCallMs);
  CHECK(client->Set(kItem).ok());
  CHECK(daemon.LastCaller().names == std::vector<std::string>{"spiffe://c/old"});
  CHECK(proxy.made() == 1);
  for (int round = 0; round < 5; ++round) {
    proxy.Cut();
    CHECK(Eventually([&] { return client->Set(kItem).ok(); }));
    CHECK(daemon.LastCaller().names == std::vector<std::string>{"spiffe://c/new"});
  }
}

TEST_CASE("a certificate that is no longer good is read again, and the call made again") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon(), &f.authority));
  Tested client({daemon.port()}, f.WithCertificate(f.NewClient("spiffe://c/old")));
  REQUIRE(client.WaitReady(1));
  AdmitName(daemon, "spiffe://c/new");
  CHECK(client->Set(kItem).status().code() == Code::kRefused);
  CHECK(daemon.sets == 1);
  const Leaf next = f.NewClient("spiffe://c/new");
  f.files.Write("cert", next.cert);
  f.files.Write("key", next.key);
  CHECK(client->Set(kItem).ok());
  CHECK(daemon.sets == 3);
}

TEST_CASE("a certificate without its key changes nothing") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon(), &f.authority));
  CutProxy proxy(daemon.port());
  Tested client({proxy.port()}, f.WithCertificate(f.NewClient("spiffe://c/old")));
  REQUIRE(client.WaitReady(1));
  const Leaf next = f.NewClient("spiffe://c/new");
  f.files.Write("cert", next.cert);
  for (int round = 0; round < 3; ++round) {
    proxy.Cut();
    CHECK(Eventually([&] { return client->Set(kItem).ok(); }));
    CHECK(daemon.LastCaller().names == std::vector<std::string>{"spiffe://c/old"});
  }
  CHECK(Eventually([&] {
    static_cast<void>(client->Set(kItem));
    return client->GetDaemons().credentials_error.find("is not the key") != std::string::npos;
  }));
  f.files.Write("key", next.key);
  CHECK(Eventually([&] {
    proxy.Cut();
    static_cast<void>(client->Set(kItem));
    return daemon.LastCaller().names == std::vector<std::string>{"spiffe://c/new"};
  }));
  CHECK(client->GetDaemons().credentials_error.empty());
}

TEST_CASE("a new authority is believed, and the old one no longer") {
  TlsFixture f;
  const Authority next;
  FakeCache daemon(Serving(f.Daemon()));
  Options options = f.WithTls();
  options.deadline = milliseconds(500);
  Tested client({daemon.port()}, options);
  CHECK(client->Set(kItem).ok());
  f.files.Write("ca", next.pem());
  WaitFor(Credentials::kForConnectionMs);
  daemon.RestartWith(Serving(f.Daemon()));
  const int before = daemon.calls();
  const Status status = client->Set(kItem).status();
  CHECK(status.code() == Code::kUnavailable);
  CHECK(daemon.calls() == before);
  daemon.RestartWith(Serving(next.Issue({.dns = {kDaemonName}})));
  CHECK(Eventually([&] { return client->Set(kItem).ok(); }));
}

TEST_CASE("a channel makes no connection with files that have been replaced") {
  TlsFixture f;
  FakeCache daemon(Serving(f.Daemon()));
  const auto credentials = Credentials::New(f.WithTls(), Env::Real());
  REQUIRE(credentials.ok());
  const auto target = net::GrpcTargetOf(SetOf({daemon.port()}).peers[0]);
  const auto with = (*credentials)->Get(Credentials::kNowMs);
  const auto channel = NewChannel(*target, *credentials, with->tls);
  const auto call = [&] {
    grpc::ClientContext context;
    v1::GetResponse response;
    return v1::Cache::NewStub(channel)->Get(&context, {}, &response);
  };
  CHECK(call().ok());
  f.files.Write("ca", f.authority.pem() + Authority().pem());
  WaitFor(Credentials::kForConnectionMs);
  CHECK(call().ok());
  daemon.RestartWith(Serving(f.Daemon()));
  CHECK(Eventually([&] { return channel->GetState(false) != GRPC_CHANNEL_READY; }));
  const Verdict verdict = Judge(call());
  CHECK(verdict.outcome == Outcome::kNotSent);
  CHECK(verdict.status.message() == "TLS: files have changed");
}

}  // namespace
}  // namespace podmirror::client
