#include <catch2/catch.hpp>
#include <iostream>

#include "certs/test_certs.h"
#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using testing::TestAuthority;
using testing::TestDir;

// The files of an etcd with TLS on both sides, and of its client.
struct Credentials {
  TestDir dir;

  void WriteServer(const TestAuthority& authority, const TestAuthority& for_clients) const {
    const TestAuthority::Leaf leaf = authority.Issue("etcd");
    dir.Write("server.crt", leaf.cert);
    dir.Write("server.key", leaf.key);
    dir.Write("clients.crt", for_clients.pem());
  }
  void WriteClient(const TestAuthority& authority, const TestAuthority& for_server) const {
    const TestAuthority::Leaf leaf = authority.Issue("podmirror");
    dir.Write("client.crt", leaf.cert);
    dir.Write("client.key", leaf.key);
    dir.Write("ca.crt", for_server.pem());
  }
  EtcdConfig config() const {
    EtcdConfig config;
    config.tls = true;
    config.flags = {"--cert-file=" + dir / "server.crt", "--key-file=" + dir / "server.key",
                    "--trusted-ca-file=" + dir / "clients.crt", "--client-cert-auth"};
    return config;
  }
  EtcdOptions options(const TestEtcd& etcd) const {
    EtcdOptions options = etcd.options();
    options.ca_file = dir / "ca.crt";
    options.cert_file = dir / "client.crt";
    options.key_file = dir / "client.key";
    return options;
  }
};

// The first error that a source tells.
std::string ErrorOf(const Api& api, const EtcdOptions& options) {
  telemetry::Metrics metrics;
  Running source(api.source(options, FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK_FALSE(source.seen().set.has_value());
  return source.seen().errors[0];
}

TEST_CASE("tls: both sides show certificates; a wrong one is told in words") {
  const TestAuthority authority("ca");
  const TestAuthority stranger("stranger");
  const Credentials files;
  files.WriteServer(authority, authority);
  files.WriteClient(authority, authority);
  TestEtcd etcd(files.config());
  etcd.Start();
  for (const Api& api : kApis) {
    INFO(api.name);
    telemetry::Metrics metrics;
    Running source(
        api.source(files.options(etcd), FilterFor("default", "relay"), metrics, Env::Real()));
    REQUIRE(source.WaitForNames({}));
    api.put(etcd, 1);
    REQUIRE(source.WaitForNames({"relay-1"}));
    CHECK(source.seen().errors.empty());

    EtcdOptions options = files.options(etcd);
    options.ca_file = files.dir.Write("stranger.crt", stranger.pem());
    CHECK(ErrorOf(api, options) == "etcd " + etcd.url() + ": TLS: certificate verify failed");
    options = files.options(etcd);
    options.cert_file.clear();
    options.key_file.clear();
    CHECK(ErrorOf(api, options) ==
          "etcd " + etcd.url() +
              ": TLS: refused without a client certificate (etcd-cert, etcd-key)");
    const TestAuthority::Leaf leaf = stranger.Issue("podmirror");
    options.cert_file = files.dir.Write("leaf.crt", leaf.cert);
    options.key_file = files.dir.Write("leaf.key", leaf.key);
    CHECK(ErrorOf(api, options) ==
          "etcd " + etcd.url() + ": TLS: our client certificate is refused (etcd-cert)");
  }
}

TEST_CASE("tls: files that cannot be used are refused before anything starts") {
  const TestAuthority authority("ca");
  const Credentials files;
  files.WriteClient(authority, authority);
  telemetry::Metrics metrics;
  EtcdOptions good;
  good.endpoints = {"https://127.0.0.1:1"};
  good.ca_file = files.dir / "ca.crt";
  good.cert_file = files.dir / "client.crt";
  good.key_file = files.dir / "client.key";
  const std::string garbage = files.dir.Write("garbage", "-----BEGIN CERTIFICATE-----\nx\n");
  const std::string text = files.dir.Write("text", "no PEM at all");
  const std::string other = files.dir.Write("other.key", authority.Issue("other").key);
  const std::tuple<std::string EtcdOptions::*, std::string, std::string> kCases[] = {
      {&EtcdOptions::ca_file, text, "etcd-ca: " + text + " holds no certificate in PEM"},
      {&EtcdOptions::ca_file, garbage,
       "etcd-ca: " + garbage + " holds a certificate that cannot be read"},
      {&EtcdOptions::cert_file, good.key_file,
       "etcd-cert: " + good.key_file + " holds no certificate in PEM"},
      {&EtcdOptions::key_file, other, "etcd-key: " + other + " is not the key of the certificate"},
      {&EtcdOptions::key_file, text,
       "etcd-key: " + text + " holds no private key that can be read"},
      {&EtcdOptions::key_file, files.dir / "none",
       "etcd-key: " + files.dir / "none" + " cannot be read or is empty"},
  };
  CHECK(NewEtcdV3Source(good, FilterFor("default", "relay"), metrics, Env::Real()).ok());
  for (const auto& [member, file, error] : kCases) {
    EtcdOptions options = good;
    options.*member = file;
    for (const Api& api : kApis) {
      const auto source = api.source(options, FilterFor("default", "relay"), metrics, Env::Real());
      CHECK(source.status().code() == Code::kInvalid);
      CHECK(source.status().message() == error);
    }
  }
}

TEST_CASE("tls: rotated authorities and certificates are taken up without a restart") {
  const TestAuthority old_authority("old");
  const TestAuthority new_authority("new");
  const Credentials files;
  files.WriteServer(old_authority, old_authority);
  files.WriteClient(old_authority, old_authority);
  TestEtcd etcd(files.config());
  etcd.Start();
  telemetry::Metrics metrics;
  std::vector<std::unique_ptr<Running>> sources;
  for (const Api& api : kApis) {
    sources.push_back(std::make_unique<Running>(
        api.source(files.options(etcd), FilterFor("default", "relay"), metrics, Env::Real())));
    REQUIRE(sources.back()->WaitForNames({}));
  }
  // The server's come first: until ours follow, what was known stays.
  for (const Api& api : kApis) api.put(etcd, 1);
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-1"}));
  etcd.Kill();
  files.WriteServer(new_authority, new_authority);
  etcd.Start();
  for (const Api& api : kApis) api.put(etcd, 2);
  for (const auto& source : sources) {
    REQUIRE(source->WaitFor([](const Seen& seen) {
      return !seen.errors.empty() &&
             seen.errors.back().find("certificate verify failed") != std::string::npos;
    }));
    CHECK(source->seen().names() == Names{"relay-1"});
  }
  files.WriteClient(new_authority, new_authority);
  const Stopwatch since;
  for (const auto& source : sources) REQUIRE(source->WaitForNames({"relay-1", "relay-2"}));
  std::cout << "rotated certificates: healed after " << since.ms() << " ms\n";
}

TEST_CASE("ipv6: both APIs over [::1]") {
  if (!HasIpv6()) {
    std::cout << "skipped: no IPv6 on this machine\n";
    return;
  }
  const TestAuthority authority("ca");
  const Credentials files;
  files.WriteServer(authority, authority);
  files.WriteClient(authority, authority);
  const bool tls = GENERATE(false, true);
  INFO("tls: " << tls);
  EtcdConfig config = tls ? files.config() : EtcdConfig();
  config.host = "[::1]";
  TestEtcd etcd(config);
  etcd.Start();
  for (const Api& api : kApis) {
    INFO(api.name);
    telemetry::Metrics metrics;
    Running source(api.source(tls ? files.options(etcd) : etcd.options(),
                              FilterFor("default", "relay"), metrics, Env::Real()));
    REQUIRE(source.WaitForNames({}));
    api.put(etcd, 1);
    REQUIRE(source.WaitForNames({"relay-1"}));
    CHECK(source.seen().errors.empty());
    etcd.Kill();
    REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    CHECK(source.seen().errors[0].find("etcd " + etcd.url() + ": connection refused") == 0);
    etcd.Start();
    api.put(etcd, 2);
    REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  }
}

}  // namespace
}  // namespace podmirror::discovery
