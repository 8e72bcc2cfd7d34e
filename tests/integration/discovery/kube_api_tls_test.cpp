// The source for the Kubernetes API over TLS: whom it believes, and when it looks again.
#include <absl/strings/match.h>
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>

#include "fake_kube_api.h"
#include "recorder.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;

// A certificate that signs itself, for one name or address ("IP:127.0.0.1"), and its key.
class Certificate {
 public:
  explicit Certificate(const std::string& name) : key_(EVP_EC_gen("P-256")), x509_(X509_new()) {
    X509_set_version(x509_, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509_), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509_), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509_), 3600);
    X509_set_pubkey(x509_, key_);
    X509_NAME* subject = X509_get_subject_name(x509_);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("kube"), -1, -1, 0);
    X509_set_issuer_name(x509_, subject);
    X509_EXTENSION* names =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, name.c_str());
    X509_add_ext(x509_, names, -1);
    X509_EXTENSION_free(names);
    REQUIRE(X509_sign(x509_, key_, EVP_sha256()) > 0);
  }
  ~Certificate() {
    X509_free(x509_);
    EVP_PKEY_free(key_);
  }

  X509* x509() const { return x509_; }
  EVP_PKEY* key() const { return key_; }
  void Write(const std::string& file) const {
    FILE* out = std::fopen(file.c_str(), "w");
    REQUIRE(out != nullptr);
    PEM_write_X509(out, x509_);
    std::fclose(out);
  }

 private:
  EVP_PKEY* key_;
  X509* x509_;
};

KubeReply List(const KubeRequest&) { return ListOf({PodBytes(1, 5)}, 10); }
KubeReply Watch(const KubeRequest&) { return StayingWatch(); }

class CaFile {
 public:
  explicit CaFile(const Certificate& certificate) { certificate.Write(name); }
  ~CaFile() { std::remove(name.c_str()); }
  const std::string name = "kube_ca_" + std::to_string(getpid());
};

Result<std::unique_ptr<PeerSource>> Source(KubeApiOptions options, const std::string& ca_file,
                                           telemetry::Metrics& metrics) {
  options.ca_file = ca_file;
  return NewKubeApiSource(options, FilterFor("default", "relay"), metrics, Env::Real());
}

TEST_CASE("kube: over TLS it lists and watches, and sees that the authority was replaced") {
  telemetry::Metrics metrics;
  const Certificate first("IP:127.0.0.1");
  const Certificate second("IP:127.0.0.1");
  const CaFile file(first);
  auto api = std::make_unique<FakeKubeApi>(List, Watch, first.x509(), first.key());
  const int port = api->port();
  Running source(Source(api->options(), file.name, metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(api->WaitForWatches(1));
  api->Push(EventBytes("ADDED", PodBytes(2, 11)));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  api.reset();
  api = std::make_unique<FakeKubeApi>(List, Watch, second.x509(), second.key(), port);
  REQUIRE(source.WaitFor([](const Seen& seen) {
    return !seen.errors.empty() && absl::StrContains(seen.errors.back(), "TLS: ");
  }));
  CHECK(api->lists() == 0);
  second.Write(file.name);
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(api->WaitForWatches(1));
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("kube: over IPv6, with TLS and without") {
  telemetry::Metrics metrics;
  const Certificate ours("IP:::1");
  const CaFile file(ours);
  const bool tls = GENERATE(true, false);
  FakeKubeApi api(List, Watch, tls ? ours.x509() : nullptr, tls ? ours.key() : nullptr, 0, "::1");
  Running source(Source(api.options(), tls ? file.name : "", metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(api.WaitForWatches(1));
  api.Push(EventBytes("ADDED", PodBytes(2, 11, "fd00::2")));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}));
  CHECK(source.seen().set->peers[1].ip == "fd00::2");
  CHECK(api.requests()[0].host == "[::1]:" + std::to_string(api.port()));
}

TEST_CASE("kube: a certificate of somebody else is refused before anything is said") {
  telemetry::Metrics metrics;
  const Certificate ours("IP:127.0.0.1");
  const Certificate other("IP:127.0.0.1");
  const Certificate elsewhere("IP:127.0.0.2,IP:::1,DNS:localhost");
  const bool wrong_name = GENERATE(true, false);
  const CaFile file(wrong_name ? elsewhere : other);
  const Certificate& served = wrong_name ? elsewhere : ours;
  FakeKubeApi api(List, Watch, served.x509(), served.key());
  Running source(Source(api.options(), file.name, metrics));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(absl::StrContains(source.seen().errors[0], "TLS: "));
  CHECK(api.requests().empty());
}

TEST_CASE("kube: stop returns within a second while a server does not answer the handshake") {
  telemetry::Metrics metrics;
  const Certificate ours("IP:127.0.0.1");
  const CaFile file(ours);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(listen(listener, 8) == 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  KubeApiOptions options;
  options.url = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  Running source(Source(options, file.name, metrics));
  REQUIRE_FALSE(
      source.WaitFor([](const Seen& seen) { return seen.answers > 0; }, milliseconds(300)));
  CHECK(source.TimeStop() < milliseconds(1000));
  close(listener);
}

}  // namespace
}  // namespace podmirror::discovery
