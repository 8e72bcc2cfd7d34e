#include <absl/strings/escaping.h>
#include <httplib.h>

#include <catch2/catch.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "certs/test_certs.h"
#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using testing::TestAuthority;
using testing::TestDir;

using nlohmann::json;
using std::chrono::milliseconds;

EtcdConfig ShortTokens() {
  EtcdConfig config;
  config.flags = {"--auth-token-ttl=2", "--bcrypt-cost=4"};
  return config;
}

EtcdOptions OptionsFor(const TestEtcd& etcd, const std::string& password_file) {
  EtcdOptions options = etcd.options();
  options.user = "mirror";
  options.password_file = password_file;
  return options;
}

// An etcd that holds one pod, with user mirror, whose role may read what lies in [from, to) and
// nothing else.
struct AuthEtcd {
  AuthEtcd(const std::string& from, const std::string& to) {
    etcd.Start();
    etcd.Put(Key(1), PodJson(1));
    GrantRole(etcd, "pods", "READ", from, to);
    AddUser(etcd, "mirror", "first", "pods");
    EnableAuth(etcd);
    etcd.Login("root", "r");
  }

  // As mirror, for the pods relay-... of the namespace default.
  Result<std::unique_ptr<PeerSource>> NewSource(const std::string& password) {
    return NewEtcdV3Source(OptionsFor(etcd, dir.Write("password", password)),
                           FilterFor("default", "relay"), metrics, Env::Real());
  }

  TestDir dir;
  TestEtcd etcd{ShortTokens()};
  telemetry::Metrics metrics;
};

TEST_CASE("v3 auth: read on the namespace's prefix is enough; what is refused is named") {
  AuthEtcd auth("/registry/pods/default/", "/registry/pods/default0");
  TestEtcd& etcd = auth.etcd;
  Running source(auth.NewSource("first\n"));
  REQUIRE(source.WaitForNames({"relay-1"}));
  etcd.Login("root", "r");
  etcd.Put(Key(2), PodJson(2));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}, milliseconds(2000)));
  CHECK(source.seen().errors.empty());

  Running other(NewEtcdV3Source(OptionsFor(etcd, auth.dir.Write("password", "first")),
                                FilterFor("default-two", "relay"), auth.metrics, Env::Real()));
  REQUIRE(other.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(other.seen().errors[0] ==
        "etcd " + etcd.url() +
            ": permission denied: a role of mirror must grant read on the prefix "
            "/registry/pods/default-two/ (keys from /registry/pods/default-two/ to "
            "/registry/pods/default-two0)");
  CHECK_FALSE(other.seen().set.has_value());
}

TEST_CASE("v3 auth: a role that covers less than the prefix is refused, and heals when mended") {
  AuthEtcd auth("/registry/pods/default/", "/registry/pods/default/m");
  TestEtcd& etcd = auth.etcd;
  Running source(auth.NewSource("first"));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0].find("the prefix /registry/pods/default/ (keys from "
                                     "/registry/pods/default/ to /registry/pods/default0)") !=
        std::string::npos);
  etcd.Login("root", "r");
  etcd.Gateway("/auth/role/grant",
               json{{"name", "pods"},
                    {"perm",
                     {{"permType", "READ"},
                      {"key", absl::Base64Escape("/registry/pods/default/")},
                      {"range_end", absl::Base64Escape("/registry/pods/default0")}}}}
                   .dump());
  const Stopwatch since;
  REQUIRE(source.WaitForNames({"relay-1"}));
  std::cout << "role mended: healed after " << since.ms() << " ms\n";
}

TEST_CASE("v3 auth: an expired token is renewed unseen, a changed password when its file follows") {
  AuthEtcd auth("/registry/pods/default/", "/registry/pods/default0");
  TestEtcd& etcd = auth.etcd;
  Running source(auth.NewSource("first"));
  REQUIRE(source.WaitForNames({"relay-1"}));
  // Twice the token's life without a call that would renew it.
  REQUIRE_FALSE(
      source.WaitFor([](const Seen& seen) { return seen.answers > 1; }, milliseconds(5000)));
  source->Refresh();
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.answers > 1; }));
  CHECK(source.seen().errors.empty());
  CHECK(auth.metrics.Render().find("type=\"error\"") == std::string::npos);

  etcd.Login("root", "r");
  etcd.Gateway("/auth/user/changepw", R"({"name":"mirror","password":"second"})");
  etcd.Put(Key(2), PodJson(2));
  REQUIRE(source.WaitFor([&](const Seen& seen) {
    source->Refresh();  // the watch itself goes on with the token that it was opened with
    return !seen.errors.empty();
  }));
  CHECK(source.seen().errors[0].find("authentication failed") != std::string::npos);
  CHECK(source.seen().names().contains("relay-1"));
  auth.dir.Write("password", "second");
  const Stopwatch since;
  const int answers = source.seen().answers;
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }));
  CHECK(source.seen().names() == Names{"relay-1", "relay-2"});
  std::cout << "password changed: healed after " << since.ms() << " ms\n";
}

// One request to etcd's own administration of users.
void V2Auth(const TestEtcd& etcd, const std::string& path, const json& body) {
  httplib::Client client("127.0.0.1", etcd.admin_port());
  client.set_basic_auth("root", "r");
  const httplib::Result result = client.Put("/v2/auth" + path, body.dump(), "application/json");
  REQUIRE(result);
  INFO(path << ": " << result->body);
  REQUIRE(result->status / 100 == 2);
}

TEST_CASE("v2 auth: user and password; what is refused is named, a new password is taken up") {
  const TestDir dir;
  TestEtcd etcd;
  etcd.V2Put(Key(1), PodJson(1));
  const auto role = [](const char* pattern) {
    return json{{"role", "pods"},
                {"permissions", {{"kv", {{"read", {pattern}}, {"write", json::array()}}}}}};
  };
  V2Auth(etcd, "/users/root", {{"user", "root"}, {"password", "r"}});
  V2Auth(etcd, "/roles/pods", role("/registry/pods/default*"));
  V2Auth(etcd, "/users/mirror", {{"user", "mirror"}, {"password", "first"}, {"roles", {"pods"}}});
  V2Auth(etcd, "/enable", json::object());
  httplib::Client client("127.0.0.1", etcd.admin_port());
  client.set_basic_auth("root", "r");
  REQUIRE(client.Delete("/v2/auth/roles/guest"));

  telemetry::Metrics metrics;
  const EtcdOptions options = OptionsFor(etcd, dir.Write("password", "first\n"));
  Running source(NewEtcdV2Source(options, FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"relay-1"}));
  CHECK(source.seen().errors.empty());

  Running without(
      NewEtcdV2Source(etcd.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(without.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(without.seen().errors[0].find("etcd wants a user (etcd-user)") != std::string::npos);
  Running other(NewEtcdV2Source(options, FilterFor("other", "relay"), metrics, Env::Real()));
  // Checking a password takes etcd long: on a busy machine it may not have answered in time before.
  const std::string refused =
      "etcd " + etcd.url() +
      ": HTTP 401 The request requires user authentication: wrong password, or no role of mirror "
      "grants read on /registry/pods/other*";
  CHECK(other.WaitFor(
      [&](const Seen& seen) { return !seen.errors.empty() && seen.errors.back() == refused; }));

  V2Auth(etcd, "/users/mirror", {{"user", "mirror"}, {"password", "second"}});
  source->Refresh();
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().names() == Names{"relay-1"});
  const int answers = source.seen().answers;
  dir.Write("password", "second\n");
  const Stopwatch since;
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }));
  std::cout << "v2 password changed: healed after " << since.ms() << " ms\n";
}

}  // namespace
}  // namespace podmirror::discovery
