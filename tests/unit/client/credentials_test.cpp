#include "client/credentials.h"

#include <catch2/catch.hpp>

#include "unit/client/certificates.h"

namespace podmirror::client {
namespace {

// A clock that the test moves.
class TestEnv final : public Env {
 public:
  Now now() const override { return {ms_, ms_}; }
  std::uint64_t Random() override { return 0; }
  void Pass(SteadyMs ms) { ms_ += ms; }

 private:
  SteadyMs ms_ = 1'000'000;
};

struct Fixture {
  // All files good.
  Options Good() {
    Options options;
    options.tls = Tls{.ca = files.Write("ca", authority.pem()),
                      .cert = files.Write("cert", leaf.cert),
                      .key = files.Write("key", leaf.key),
                      .names = {"a.test"}};
    options.token_file = files.Write("token", "secret\n");
    return options;
  }
  std::shared_ptr<Credentials> Make(const Options& options) {
    auto made = Credentials::New(options, env);
    INFO(made.status().ToString());
    REQUIRE(made.ok());
    return *made;
  }

  TestFiles files;
  TestEnv env;
  Authority authority;
  Leaf leaf = authority.Issue({.dns = {"client.test"}});
};

TEST_CASE("nothing is read where nothing is named") {
  Fixture f;
  const auto none = f.Make({})->Get(Credentials::kForCallMs);
  CHECK(none->tls == nullptr);
  CHECK(none->token.empty());
  // The system's authorities, no certificate of one's own.
  Options system;
  system.tls = Tls{.names = {"a.test"}};
  const auto some = f.Make(system)->Get(Credentials::kForCallMs);
  REQUIRE(some->tls != nullptr);
  CHECK(*some->tls == Credentials::TlsFiles());
}

TEST_CASE("the files are those that are named") {
  Fixture f;
  const auto state = f.Make(f.Good())->Get(Credentials::kForCallMs);
  REQUIRE(state->tls != nullptr);
  CHECK(state->tls->ca == f.authority.pem());
  CHECK(state->tls->cert == f.leaf.cert);
  CHECK(state->tls->key == f.leaf.key);
  CHECK(state->token == "secret");

  Options both = f.Good();
  both.tls->cert = both.tls->key = f.files.Write("both", f.leaf.key + f.leaf.cert);
  const auto same = f.Make(both)->Get(Credentials::kForCallMs);
  CHECK(same->tls->cert == f.leaf.key + f.leaf.cert);
}

TEST_CASE("options that are wrong are named") {
  Fixture f;
  const auto why = [&](const auto& change) {
    Options options = f.Good();
    change(options);
    const auto made = Credentials::New(options, f.env);
    CHECK(made.status().code() == Code::kInvalid);
    return made.status().message();
  };
  const Leaf other = f.authority.Issue({});
  CHECK(why([](Options& o) { o.tls->key.clear(); }) == "tls.cert, tls.key: both or none");
  CHECK(why([](Options& o) { o.tls->cert.clear(); }) == "tls.cert, tls.key: both or none");
  CHECK(why([](Options& o) { o.tls->names.clear(); }).starts_with("tls.names: "));
  CHECK(why([](Options& o) { o.tls->ca += "x"; }).starts_with("tls.ca: "));
  CHECK(why([&](Options& o) { o.tls->ca = o.tls->key; }).starts_with("tls.ca: "));
  CHECK(why([](Options& o) { o.tls->cert += "x"; }).starts_with("tls.cert: "));
  CHECK(why([](Options& o) { o.tls->key += "x"; }).starts_with("tls.key: "));
  CHECK(why([&](Options& o) {
          o.tls->key = f.files.Write("o", other.key);
        }).find("is not the key of the certificate") != std::string::npos);
  CHECK(why([](Options& o) {
          o.tls->port = 1;
          o.peers = {"a.test:1"};
        }).starts_with("tls.port: "));
  CHECK(why([](Options& o) { o.tls.reset(); }) ==
        "token_file: only with tls, or where allow_token_without_tls says so");
  CHECK(why([](Options& o) { o.token_file += "x"; }).starts_with("token_file: "));
  for (const std::string& token :
       {std::string(), std::string("\n"), std::string("a b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("\xc3\xa4"), std::string(16 * 1024 + 1, 'x')}) {
    CHECK(why([&](Options&) { f.files.Write("token", token); }).starts_with("token_file: "));
  }
}

TEST_CASE("a token goes without TLS only where that is said") {
  Fixture f;
  Options options = f.Good();
  options.tls.reset();
  CHECK_FALSE(Credentials::New(options, f.env).ok());
  options.allow_token_without_tls = true;
  const std::string longest(16 * 1024, 'x');
  f.files.Write("token", longest + "\r\n");
  CHECK(f.Make(options)->Get(Credentials::kForCallMs)->token == longest);
}

TEST_CASE("a change is seen by a look, and looks are rare") {
  Fixture f;
  const auto credentials = f.Make(f.Good());
  const auto before = credentials->Get(Credentials::kForCallMs);
  f.files.Write("token", "new");
  f.env.Pass(Credentials::kForCallMs - 1);
  CHECK(credentials->Get(Credentials::kForCallMs)->token == "secret");
  f.env.Pass(1);
  CHECK(credentials->Get(Credentials::kForCallMs)->token == "new");
  CHECK(before->token == "secret");

  f.files.Write("token", "newer");
  CHECK(credentials->Get(Credentials::kForConnectionMs)->token == "new");
  CHECK(credentials->Get(Credentials::kNowMs)->token == "newer");
  // The TLS files have not changed: they are the same, so connections are those of now.
  const auto after = credentials->Get(Credentials::kNowMs);
  CHECK(after->tls == before->tls);
  CHECK(credentials->IsCurrent(before->tls));
}

TEST_CASE("the content counts, not the time of a file") {
  Fixture f;
  const auto credentials = f.Make(f.Good());
  const auto time = std::filesystem::last_write_time(f.files / "token");
  f.files.Write("token", "SECRET");
  std::filesystem::last_write_time(f.files / "token", time);
  CHECK(credentials->Get(Credentials::kNowMs)->token == "SECRET");

  const auto before = credentials->Get(Credentials::kNowMs);
  f.Good();  // the same certificates, written again
  CHECK(credentials->Get(Credentials::kNowMs)->tls == before->tls);
}

TEST_CASE("a pair is taken when both halves are there") {
  Fixture f;
  const auto credentials = f.Make(f.Good());
  const auto before = credentials->Get(Credentials::kNowMs);
  const Leaf next = f.authority.Issue({.dns = {"client.test"}});
  f.files.Write("cert", next.cert);
  CHECK(credentials->Get(Credentials::kNowMs)->tls == before->tls);
  CHECK(credentials->error().starts_with("tls.key: "));
  CHECK(credentials->IsCurrent(before->tls));
  f.files.Write("key", next.key);
  const auto after = credentials->Get(Credentials::kNowMs);
  CHECK(after->tls->cert == next.cert);
  CHECK(after->tls->key == next.key);
  CHECK(credentials->error().empty());
  CHECK_FALSE(credentials->IsCurrent(before->tls));
  CHECK(before->tls->cert == f.leaf.cert);
}

TEST_CASE("a file that cannot be used keeps nobody from taking the others") {
  Fixture f;
  const auto credentials = f.Make(f.Good());
  const Authority other;
  std::filesystem::remove(f.files / "key");
  f.files.Write("ca", other.pem());
  f.files.Write("token", "new");
  const auto state = credentials->Get(Credentials::kNowMs);
  CHECK(state->tls->ca == other.pem());
  CHECK(state->tls->key == f.leaf.key);
  CHECK(state->token == "new");
  CHECK(credentials->error().starts_with("tls.key: "));
  f.files.Write("ca", "nonsense");
  f.files.Write("token", "");
  const auto still = credentials->Get(Credentials::kNowMs);
  CHECK(still->tls == state->tls);
  CHECK(still->token == "new");
}

}  // namespace
}  // namespace podmirror::client
