#include "net/address.h"

#include <catch2/catch.hpp>

#include "discovery/etcd_options.h"
#include "discovery/static_peers.h"
#include "fixture_path.h"

namespace podmirror {
namespace {

TEST_CASE("host:port pairs") {
  struct Case {
    const char* text;
    const char* host;
    int port;
    bool is_ip;
  };
  for (const Case& wanted : {Case{"10.0.0.1:80", "10.0.0.1", 80, true},
                             Case{"[2001:DB8::0]:7070", "2001:db8::", 7070, true},
                             Case{"relay.default.svc:7070", "relay.default.svc", 7070, false},
                             Case{"a:65535", "a", 65535, false}}) {
    const Result<net::HostPort> parsed = net::ParseHostPort(wanted.text);
    INFO(wanted.text);
    REQUIRE(parsed.ok());
    CHECK(parsed->host == wanted.host);
    CHECK(parsed->port == wanted.port);
    CHECK(parsed->is_ip == wanted.is_ip);
  }
  for (const char* bad :
       {"", "a", "a:", ":80", "a:0", "a:65536", "a:-1", "a:+1", "a: 1", "a:1x", "::1:80", "[::1]",
        "[::1]80", "[10.0.0.1]:80", "[a]:80", "a b:80", "a/b:80", "http://a:80", "a:111111",
        // What the resolver would take for the address of somebody else.
        "010.0.0.1:80", "10.0.0.01:80", "10.1:80", "167772161:80", "0x0a000001:80", "10.0.0.0x1:80",
        "1.2.3.4.5:80", "10.0.0.256:80"}) {
    INFO(bad);
    CHECK_FALSE(net::ParseHostPort(bad).ok());
  }
  CHECK(net::ParseHostPort("010.0.0.1:80").status().message() ==
        "\"010.0.0.1:80\": not an IPv4 address: four decimal numbers without leading zeros");
}

TEST_CASE("an IPv4 address is four decimal numbers without leading zeros") {
  CHECK(net::CanonicalIp("10.0.0.10") == "10.0.0.10");
  CHECK(net::CanonicalIp("0.0.0.0") == "0.0.0.0");
  for (const char* bad : {"010.0.0.1", "10.00.0.1", "10.0.0.01", "10.0.1", "0x0a.0.0.1",
                          "10.0.0.1 ", "::ffff:010.0.0.1"}) {
    INFO(bad);
    CHECK_FALSE(net::CanonicalIp(bad));
  }
}

TEST_CASE("base URLs of servers") {
  CHECK(net::ParseBaseUrl("http://a:1")->ToString() == "http://a:1");
  CHECK(net::ParseBaseUrl("https://[::1]:2379/")->ToString() == "https://[::1]:2379");
  CHECK(net::ParseBaseUrl("http://a")->ToString() == "http://a:80");
  CHECK(net::ParseBaseUrl("https://[::1]")->ToString() == "https://[::1]:443");
  for (const char* bad : {"", "a:1", "ftp://a:1", "http://", "http://a:1/x", "http://u@a:1",
                          "http://a:1?x", "http://a:1//", "http:///a:1"}) {
    INFO(bad);
    CHECK_FALSE(net::ParseBaseUrl(bad).ok());
  }
}

discovery::EtcdOptions Etcd(const std::string& endpoint) {
  discovery::EtcdOptions options;
  options.endpoints = {endpoint};
  return options;
}

TEST_CASE("etcd options: what is set is used or refused by name") {
  // The setting that the error names, after `member` of good options is set to `value`.
  const auto error = [](discovery::EtcdOptions options, std::string discovery::EtcdOptions::*member,
                        const std::string& value) {
    options.*member = value;
    const auto checked = discovery::CheckEtcdOptions(std::move(options), "default", Env::Real());
    REQUIRE_FALSE(checked.ok());
    CHECK(checked.status().code() == Code::kInvalid);
    return checked.status().message().substr(0, checked.status().message().find(':'));
  };
  using Options = discovery::EtcdOptions;
  const Options http = Etcd("http://127.0.0.1:1");
  const Options https = Etcd("https://127.0.0.1:1");
  const std::string file = FixturePath("README.md");
  CHECK(error(Options(), &Options::prefix, "/registry") == "etcd-endpoints");
  CHECK(error(Etcd("127.0.0.1:2379"), &Options::prefix, "/registry") == "etcd-endpoints");
  CHECK(error(http, &Options::prefix, "a\nb") == "etcd-prefix");
  CHECK(error(http, &Options::ca_file, file) == "etcd-ca");
  CHECK(error(https, &Options::ca_file, "/no/such/file") == "etcd-ca");
  CHECK(error(https, &Options::cert_file, file) == "etcd-key");
  CHECK(error(https, &Options::key_file, file) == "etcd-cert");
  CHECK(error(http, &Options::user, "root") == "etcd-password-file");
  CHECK(error(http, &Options::password_file, file) == "etcd-user");

  const auto where = [&](const std::string& prefix) {
    Options options = http;
    options.prefix = prefix;
    const auto checked = discovery::CheckEtcdOptions(options, "ns", Env::Real());
    REQUIRE(checked.ok());
    return checked->where;
  };
  CHECK(where("/registry") == "/registry/pods/ns");
  CHECK(where("registry/") == "/registry/pods/ns");
  CHECK(where("/kubernetes.io/x") == "/kubernetes.io/x/pods/ns");
  CHECK(where("/") == "/pods/ns");
}

std::vector<std::string> Names(const PeerSet& set) {
  std::vector<std::string> names;
  for (const PodRecord& peer : set.peers) names.push_back(peer.name);
  return names;
}

TEST_CASE("static peers: names stand for all their addresses, this pod is left out") {
  Result<discovery::StaticPeers> peers = discovery::StaticPeers::New(
      {"10.0.0.1:7070", "[2001:DB8::1]:7070", "relay:7070", "10.0.0.9:7070", "10.0.0.9:7071"},
      {.name = "", .ns = "", .uid = "", .ip = "10.0.0.9"}, 7070);
  REQUIRE(peers.ok());
  CHECK(peers->Names() == std::vector<std::string>{"relay"});
  CHECK(peers->AnyKnown());
  CHECK(Names(peers->MakeSet()) ==
        std::vector<std::string>{"10.0.0.1:7070", "10.0.0.9:7071", "[2001:db8::1]:7070"});

  peers->Resolved("relay", std::vector<std::string>{"10.0.0.1", "10.0.0.2", "10.0.0.9", "::2"});
  const PeerSet set = peers->MakeSet();
  CHECK(Names(set) == std::vector<std::string>{"10.0.0.1:7070", "relay/10.0.0.2:7070",
                                               "10.0.0.9:7071", "[2001:db8::1]:7070",
                                               "relay/[::2]:7070"});
  CHECK(set.self_listed);
  CHECK(set.peers[0].uid.empty());
  CHECK(set.peers[0].port == 7070);

  SECTION("a failure keeps the last addresses") {
    peers->Resolved("relay", Status(Code::kUnavailable, "no answer"));
    CHECK(peers->MakeSet() == set);
  }
  SECTION("an answer replaces them") {
    peers->Resolved("relay", std::vector<std::string>{"10.0.0.3"});
    CHECK(Names(peers->MakeSet()) ==
          std::vector<std::string>{"10.0.0.1:7070", "relay/10.0.0.3:7070", "10.0.0.9:7071",
                                   "[2001:db8::1]:7070"});
  }
}

TEST_CASE("static peers: a bad entry is told with its text") {
  const auto bad = discovery::StaticPeers::New({"a:1", "b"}, {}, 1);
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.status().message().starts_with("peers: \"b\""));
  CHECK(discovery::StaticPeers::New({}, {}, 1).status().message().starts_with("peers:"));
}

}  // namespace
}  // namespace podmirror
