#include "settings/settings.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "settings/table.h"

namespace podmirror::settings {
namespace {

using Environment = std::map<std::string, std::string>;
using Arguments = std::vector<std::string>;

// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    const int fd = mkstemp(path_.data());
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/podmirror-settings-XXXXXX";
};

Result<Loaded> LoadWith(const Arguments& arguments, const Environment& environment = {}) {
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Surroundings around;
  around.hostname = "the-host";
  around.uid = "made-up";
  around.environment = [&environment](const std::string& name) -> std::optional<std::string> {
    const auto found = environment.find(name);
    if (found == environment.end()) return std::nullopt;
    return found->second;
  };
  return Load(argv, around);
}

Settings MustLoad(Arguments arguments, const Environment& environment = {}) {
  arguments.push_back("--discovery=none");
  const auto loaded = LoadWith(arguments, environment);
  INFO(loaded.status().ToString());
  REQUIRE(loaded.ok());
  return loaded->settings;
}

// The message of a refusal: one line.
std::string Refusal(const Arguments& arguments, const Environment& environment = {}) {
  const auto loaded = LoadWith(arguments, environment);
  REQUIRE_FALSE(loaded.ok());
  CHECK(loaded.status().code() == Code::kInvalid);
  const std::string& message = loaded.status().message();
  CHECK(message.find('\n') == std::string::npos);
  return message;
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string Joined(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& item : list) text += (text.empty() ? "" : ",") + item;
  return text;
}

// How a test reads each setting back, and two texts that are fine and one that is not.
struct Sample {
  std::string one;
  std::string other;
  std::string bad;  // empty: every text is fine
  std::function<std::string(const Settings&)> read;
};

std::string Ms(std::chrono::milliseconds value) { return std::to_string(value.count()) + "ms"; }
std::string Shown(const Settings::Listen& listen) { return listen ? listen->ToString() : "off"; }
std::string Num(std::uint64_t value) { return std::to_string(value); }

const std::map<std::string, Sample>& Samples() {
  using S = const Settings&;
  const std::string control(1, '\x01');
  // Unreadable files are tested on their own: here every file is one that exists.
  static const std::map<std::string, Sample> samples = {
      {"rest-listen", {"127.0.0.1:80", "[::1]:0", "80", [](S s) { return Shown(s.rest_listen); }}},
      {"grpc-listen",
       {"[::1]:81", "localhost:82", "::1:80", [](S s) { return Shown(s.grpc_listen); }}},
      {"rest-tls-listen",
       {"127.0.0.1:83", "off", "on", [](S s) { return Shown(s.rest_tls_listen); }}},
      {"grpc-tls-listen",
       {"127.0.0.1:84", "off", "84", [](S s) { return Shown(s.grpc_tls_listen); }}},
      {"health-listen", {"[::1]:85", "off", "true", [](S s) { return Shown(s.health_listen); }}},
      {"tls-cert", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.tls_cert; }}},
      {"tls-key", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.tls_key; }}},
      {"tls-ca", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.tls_ca; }}},
      {"tls-peers", {"a.b", "spiffe://a/*,b", control, [](S s) { return Joined(s.tls_peers); }}},
      {"peer-tls", {"off", "prefer", "on", [](S s) { return s.peer_tls; }}},
      {"peer-tls-port", {"1", "65535", "0", [](S s) { return Num(s.peer_tls_port); }}},
      {"auth",
       {"off", "required", "on",
        [](S s) -> std::string { return s.auth_required ? "required" : "off"; }}},
      {"auth-file", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.auth_file; }}},
      {"auth-jwt-issuer", {"https://a", "b", control, [](S s) { return s.auth_jwt_issuer; }}},
      {"auth-jwt-audience", {"a", "b", control, [](S s) { return s.auth_jwt_audience; }}},
      {"auth-jwks", {"https://a/b", "/c", control, [](S s) { return s.auth_jwks; }}},
      {"audit", {"denied", "all", "some", [](S s) { return s.audit; }}},
      {"tls-reload-interval",
       {"100ms", "700ms", "99ms", [](S s) { return Ms(s.tls_reload_interval); }}},
      {"peer-port", {"1", "65535", "65536", [](S s) { return Num(s.peer_port); }}},
      {"max-connections", {"1", "99", "0", [](S s) { return Num(s.max_connections); }}},
      {"max-watchers", {"1", "99", "0", [](S s) { return Num(s.max_watchers); }}},
      {"request-timeout", {"5ms", "7ms", "5", [](S s) { return Ms(s.request_timeout); }}},
      {"discovery", {"etcd", "etcd-v2", "zookeeper", [](S s) { return s.discovery; }}},
      {"etcd-endpoints",
       {"http://a:1", "https://[::1]:2,http://b:3", "a:1",
        [](S s) { return Joined(s.etcd_endpoints); }}},
      {"etcd-prefix", {"/a", "/b/c", "registry", [](S s) { return s.etcd_prefix; }}},
      {"etcd-ca", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.etcd_ca; }}},
      {"etcd-cert", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.etcd_cert; }}},
      {"etcd-key", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.etcd_key; }}},
      {"etcd-user", {"u", "v", control, [](S s) { return s.etcd_user; }}},
      {"etcd-password-file",
       {"/dev/null", "/etc/passwd", "/etc", [](S s) { return s.etcd_password_file; }}},
      {"kube-api-url",
       {"https://a:1", "http://[::1]:2", "a:1", [](S s) { return s.kube_api_url; }}},
      {"kube-token-file",
       {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.kube_token_file; }}},
      {"kube-ca", {"/dev/null", "/etc/passwd", "/none", [](S s) { return s.kube_ca; }}},
      {"registry-schema", {"a", "b", control, [](S s) { return s.registry_schema; }}},
      {"registry-ttl", {"2000ms", "1500ms", "999ms", [](S s) { return Ms(s.registry_ttl); }}},
      {"namespace", {"a", "b", control, [](S s) { return s.ns; }}},
      {"service", {"a", "b", control, [](S s) { return s.service; }}},
      {"selector", {"a=b,c in (d,e)", "!f", control, [](S s) { return s.selector; }}},
      {"container", {"a", "b", control, [](S s) { return s.container; }}},
      {"peers", {"a:1", "127.0.0.1:2,[::1]:3", "a", [](S s) { return Joined(s.peers); }}},
      {"cluster", {"a", "b", control, [](S s) { return s.cluster; }}},
      {"pod-name", {"a", "b", control, [](S s) { return s.pod.name; }}},
      {"pod-namespace", {"a", "b", control, [](S s) { return s.pod.ns; }}},
      {"pod-uid", {"a", "b", control, [](S s) { return s.pod.uid; }}},
      {"pod-ip", {"127.0.0.1", "::1", "localhost", [](S s) { return s.pod.ip; }}},
      {"ack", {"one", "majority", "some", [](S s) { return s.ack; }}},
      {"ack-timeout", {"5ms", "7ms", "1d", [](S s) { return Ms(s.ack_timeout); }}},
      {"max-key-bytes", {"1", "32768", "32769", [](S s) { return Num(s.max_key_bytes); }}},
      {"max-value-bytes", {"1", "50331648", "49MiB", [](S s) { return Num(s.max_value_bytes); }}},
      {"max-batch-bytes", {"2048", "4096", "64MiB", [](S s) { return Num(s.max_batch_bytes); }}},
      {"max-memory", {"1", "2", "1TB", [](S s) { return Num(s.max_memory); }}},
      {"backlog-bytes", {"1048576", "2000000", "1024", [](S s) { return Num(s.backlog_bytes); }}},
      {"change-log-bytes",
       {"1048576", "2000000", "1024", [](S s) { return Num(s.change_log_bytes); }}},
      {"tombstone-ttl", {"1000ms", "5000ms", "999ms", [](S s) { return Ms(s.tombstone_ttl); }}},
      {"repair-interval", {"100ms", "300ms", "-1s", [](S s) { return Ms(s.repair_interval); }}},
      {"bootstrap-timeout", {"5ms", "7ms", "0s", [](S s) { return Ms(s.bootstrap_timeout); }}},
      {"bootstrap-alone",
       {"true", "false", "yes",
        [](S s) -> std::string { return s.bootstrap_alone ? "true" : "false"; }}},
      {"drain-timeout", {"5ms", "7ms", "2h", [](S s) { return Ms(s.drain_timeout); }}},
      {"drain-delay", {"1ms", "3ms", "1 day", [](S s) { return Ms(s.drain_delay); }}},
      {"log-level", {"warn", "error", "loud", [](S s) { return s.log_level; }}},
      {"log-format", {"json", "text", "xml", [](S s) { return s.log_format; }}},
  };
  return samples;
}

// What else must be given so that the settings fit together, whatever one of them is.
Arguments Companions(const std::string& name) {
  if (name == "discovery") return {"--service=s"};
  Arguments companions = {"--discovery=none"};
  if (name == "tls-key" || name.ends_with("-tls-listen") || name == "peer-tls") {
    companions.insert(companions.end(), {"--tls-cert=/dev/null"});
  }
  if (name == "peer-tls") companions.insert(companions.end(), {"--tls-ca=/dev/null"});
  if (name == "auth") {
    companions.insert(companions.end(),
                      {"--tls-cert=/dev/null", "--tls-ca=/dev/null", "--peer-tls=require",
                       "--grpc-tls-listen=127.0.0.1:1", "--auth-file=/dev/null"});
  }
  if (name == "auth-jwks") companions.emplace_back("--auth-jwt-issuer=x");
  if (name == "auth-jwt-issuer") companions.emplace_back("--auth-jwks=/x");
  return companions;
}

Settings LoadSample(const std::string& name, Arguments arguments, const Environment& environment) {
  for (const std::string& companion : Companions(name)) arguments.push_back(companion);
  const auto loaded = LoadWith(arguments, environment);
  INFO(loaded.status().ToString());
  REQUIRE(loaded.ok());
  return loaded->settings;
}

TEST_CASE("every setting comes from flag, environment and file, in this order") {
  for (const Setting& setting : Table()) {
    INFO(setting.name);
    REQUIRE(Samples().contains(setting.name));
    const Sample& sample = Samples().at(setting.name);
    const TemporaryFile file(setting.name + " = '" + sample.one + "'\n");
    const Arguments config = {"--config", file.path()};
    const Environment environment = {{setting.variable(), sample.other}};
    const std::string flag = "--" + setting.name;

    CHECK(sample.read(LoadSample(setting.name, {flag, sample.one}, {})) == sample.one);
    CHECK(sample.read(LoadSample(setting.name, {flag + "=" + sample.one}, {})) == sample.one);
    CHECK(sample.read(LoadSample(setting.name, {}, environment)) == sample.other);
    CHECK(sample.read(LoadSample(setting.name, config, {})) == sample.one);
    CHECK(sample.read(LoadSample(setting.name, config, environment)) == sample.other);
    CHECK(sample.read(LoadSample(setting.name, {flag, sample.one}, environment)) == sample.one);
  }
  CHECK(Samples().size() == Table().size());
}

TEST_CASE("a bad value is refused by a line that names the setting and where it came from") {
  for (const Setting& setting : Table()) {
    INFO(setting.name);
    const Sample& sample = Samples().at(setting.name);
    const std::string flag_message = Refusal({"--" + setting.name + "=" + sample.bad});
    CHECK(flag_message.starts_with(setting.name + ": "));
    CHECK(Contains(flag_message, "flag --" + setting.name));

    const std::string environment_message = Refusal({}, {{setting.variable(), sample.bad}});
    CHECK(environment_message.starts_with(setting.name + ": "));
    CHECK(Contains(environment_message, setting.variable()));

    if (sample.bad.starts_with('\x01')) continue;  // TOML itself refuses control characters
    const TemporaryFile file("\n" + setting.name + " = '" + sample.bad + "'\n");
    const std::string file_message = Refusal({"--config", file.path()});
    CHECK(file_message.starts_with(setting.name + ": "));
    CHECK(Contains(file_message, file.path()));
    CHECK(Contains(file_message, "line 2"));
  }
}

TEST_CASE("defaults are those of the contract") {
  const auto loaded = LoadWith({"--service", "web"});
  REQUIRE(loaded.ok());
  const Settings& s = loaded->settings;
  CHECK(s.rest_listen == HostPort{"::", 8080});
  CHECK(s.grpc_listen == HostPort{"::", 7070});
  CHECK(s.peer_port == 7070);
  CHECK(s.discovery == "etcd");
  CHECK(Joined(s.etcd_endpoints) == "http://127.0.0.1:2379");
  CHECK(s.etcd_prefix == "/registry");
  CHECK(s.ns == "default");
  CHECK(s.cluster == "default/web");
  CHECK(s.pod.name == "the-host");
  CHECK(s.pod.ns == "default");
  CHECK(s.ack == "all");
  CHECK(Ms(s.ack_timeout) == "1000ms");
  CHECK(s.max_key_bytes == 512);
  CHECK(s.max_value_bytes == 1u << 20);
  CHECK(s.max_batch_bytes == 16u << 20);
  CHECK(s.max_connections == 1024);
  CHECK(Ms(s.request_timeout) == "10000ms");
  CHECK(s.max_memory == 0);
  CHECK(s.backlog_bytes == 64u << 20);
  CHECK(Ms(s.tombstone_ttl) == "3600000ms");
  CHECK(Ms(s.repair_interval) == "10000ms");
  CHECK(Ms(s.bootstrap_timeout) == "30000ms");
  CHECK_FALSE(s.bootstrap_alone);
  CHECK(Ms(s.drain_timeout) == "10000ms");
  CHECK(Ms(s.drain_delay) == "0ms");
  CHECK(s.registry_schema == "podmirror");
  CHECK(Ms(s.registry_ttl) == "10000ms");
  CHECK(s.log_level == "info");
  CHECK(s.log_format == "json");
}

TEST_CASE("defaults that come from other settings and from the Downward API") {
  const Environment pod = {
      {"POD_NAME", "web-1"}, {"POD_NAMESPACE", "shop"}, {"POD_UID", "u-1"}, {"POD_IP", "10.0.0.9"}};
  const Settings s = MustLoad({"--selector=app=web", "--grpc-listen=[::]:9000"}, pod);
  CHECK(s.pod.name == "web-1");
  CHECK(s.pod.ns == "shop");
  CHECK(s.pod.uid == "u-1");
  CHECK(s.pod.ip == "10.0.0.9");
  CHECK(s.ns == "shop");
  CHECK(s.cluster == "shop/app=web");
  CHECK(s.peer_port == 9000);

  const Settings other = MustLoad({"--namespace=elsewhere", "--pod-name=x"}, pod);
  CHECK(other.ns == "elsewhere");
  CHECK(other.pod.ns == "shop");
  CHECK(other.pod.name == "x");

  CHECK(Contains(Refusal({}, {{"POD_IP", "nonsense"}}), "POD_IP"));
}

TEST_CASE("who this daemon is where no record says it") {
  const auto derived =
      LoadWith({"--discovery=registry", "--service=web", "--grpc-listen=[fd00::1]:9000"});
  REQUIRE(derived.ok());
  CHECK(derived->settings.pod.name == "the-host");
  CHECK(derived->settings.pod.uid == "made-up");
  CHECK(derived->settings.pod.ip == "fd00::1");
  CHECK(derived->settings.peer_port == 9000);
  const auto given = LoadWith({"--discovery=registry", "--service=web", "--pod-uid=u-1",
                               "--pod-ip=10.0.0.9", "--grpc-listen=127.0.0.1:1"});
  REQUIRE(given.ok());
  CHECK(given->settings.pod.uid == "u-1");
  CHECK(given->settings.pod.ip == "10.0.0.9");
  CHECK(Refusal({"--discovery=registry", "--service=web", "--grpc-listen=localhost:1"})
            .starts_with("pod-ip: required"));
  CHECK(MustLoad({}).pod.uid.empty());
  CHECK(Surroundings::Real().uid.size() == 32);
  CHECK(Surroundings::Real().uid != Surroundings::Real().uid);
}

TEST_CASE("with static peers the address of grpc-listen is that of this daemon") {
  const auto own_ip = [](const std::string& listen, const Environment& environment = {}) {
    const auto loaded = LoadWith(
        {"--discovery=static", "--peers=127.0.0.1:1", "--grpc-listen=" + listen}, environment);
    INFO(loaded.status().ToString());
    REQUIRE(loaded.ok());
    return loaded->settings.pod.ip;
  };
  CHECK(own_ip("127.0.0.1:1") == "127.0.0.1");
  CHECK(own_ip("[fd00::1]:1") == "fd00::1");
  CHECK(own_ip("127.0.0.1:1", {{"POD_IP", "10.0.0.9"}}) == "10.0.0.9");
  CHECK(own_ip("0.0.0.0:1").empty());
  CHECK(own_ip("[::]:1").empty());
  CHECK(own_ip("localhost:1").empty());
  CHECK(MustLoad({"--grpc-listen=127.0.0.1:1"}).pod.ip.empty());
}

TEST_CASE("sizes, durations, numbers, booleans and lists have their natural forms in a file") {
  const TemporaryFile file(R"(
max-value-bytes = 2048
max-batch-bytes = "3 MiB"
max-memory = "2GiB"
peer-port = 7171
bootstrap-alone = true
tombstone-ttl = "2h"
ack-timeout = "250ms"
bootstrap-timeout = "3m"
peers = ["a:1", "b:2"]
etcd-endpoints = "http://a:1, http://b:2/"
)");
  const Settings s = MustLoad({"--config", file.path()});
  CHECK(s.max_value_bytes == 2048);
  CHECK(s.max_batch_bytes == 3u << 20);
  CHECK(s.max_memory == 2ull << 30);
  CHECK(s.peer_port == 7171);
  CHECK(s.bootstrap_alone);
  CHECK(s.tombstone_ttl == std::chrono::hours(2));
  CHECK(s.ack_timeout == std::chrono::milliseconds(250));
  CHECK(s.bootstrap_timeout == std::chrono::minutes(3));
  CHECK(s.peers == std::vector<std::string>{"a:1", "b:2"});
  CHECK(s.etcd_endpoints == std::vector<std::string>{"http://a:1", "http://b:2"});
}

TEST_CASE("a port may be off, but not all of REST or of gRPC") {
  const Arguments tls = {"--tls-cert=/dev/null", "--tls-ca=/dev/null"};
  const auto with_tls = [&tls](Arguments more) {
    more.insert(more.end(), tls.begin(), tls.end());
    return more;
  };
  const Settings s =
      MustLoad(with_tls({"--rest-listen=off", "--rest-tls-listen=[::]:8443", "--grpc-listen=off",
                         "--grpc-tls-listen=[::]:7443", "--peer-tls=require"}));
  CHECK_FALSE(s.rest_listen);
  CHECK_FALSE(s.grpc_listen);
  CHECK(s.peer_tls_port == 7443);
  CHECK(s.peer_port == 7443);  // records name the only port that there is
  CHECK(s.tls_key == "/dev/null");
  const Settings both = MustLoad(with_tls({"--grpc-tls-listen=[::]:7443"}));
  CHECK(both.peer_port == 7070);
  CHECK(both.peer_tls_port == 7443);
  CHECK(MustLoad(with_tls({"--grpc-tls-listen=[::]:7443", "--peer-tls-port=9"})).peer_tls_port ==
        9);

  CHECK(Refusal({"--rest-listen=off", "--discovery=none"}).starts_with("rest-listen: is off"));
  CHECK(Refusal({"--grpc-listen=off", "--discovery=none"}).starts_with("grpc-listen: is off"));
  CHECK(Refusal({"--health-listen=[::]:8080", "--discovery=none"}) ==
        "health-listen: is the same address as rest-listen");
}

TEST_CASE("what auth needs is asked for") {
  const auto refusal = [](Arguments arguments) {
    arguments.push_back("--discovery=none");
    return Refusal(arguments);
  };
  CHECK(refusal({"--auth=required"}) == "auth-file: required with auth required");
  CHECK(refusal({"--auth=required", "--auth-file=/dev/null"})
            .starts_with("peer-tls: must be require with auth required"));
  CHECK(refusal({"--auth-jwks=/x"}).starts_with("auth-jwt-issuer: missing"));
  CHECK(refusal({"--auth-jwt-issuer=x"}).starts_with("auth-jwks: missing"));
  CHECK(Contains(refusal({"--auth-jwt-issuer=x", "--auth-jwks=http://a/b"}),
                 "auth-jwks: is neither"));
}

TEST_CASE("what TLS needs is asked for") {
  const auto refusal = [](Arguments arguments) {
    arguments.push_back("--discovery=none");
    return Refusal(arguments);
  };
  CHECK(refusal({"--rest-tls-listen=[::]:1"}) == "tls-cert: required with rest-tls-listen");
  CHECK(refusal({"--grpc-tls-listen=[::]:1"}) == "tls-cert: required with grpc-tls-listen");
  CHECK(refusal({"--peer-tls=prefer"}) == "tls-cert: required with peer-tls");
  CHECK(refusal({"--tls-key=/dev/null"}) == "tls-cert: missing: tls-key is its key");
  CHECK(Contains(refusal({"--tls-cert=/dev/null", "--peer-tls=prefer"}), "tls-ca: required"));
  CHECK(Contains(refusal({"--tls-cert=/dev/null", "--tls-ca=/dev/null", "--peer-tls=require"}),
                 "grpc-tls-listen: required"));
  CHECK(Contains(
      Refusal({"--tls-cert=/dev/null", "--tls-ca=/dev/null", "--peer-tls=prefer", "--service=s"}),
      "peer-tls-port: required"));
}

TEST_CASE("a flag may have an empty value") {
  const Settings s = MustLoad({"--service=", "--namespace", "", "--cluster=c"},
                              {{"PODMIRROR_SERVICE", "web"}, {"PODMIRROR_NAMESPACE", "shop"}});
  CHECK(s.service.empty());
  CHECK(s.ns == "default");
  CHECK(s.cluster == "c");
  CHECK(Contains(Refusal({"--ack=", "--service=s"}), "ack: \"\" is none of"));
}

TEST_CASE("a boolean flag needs no value") {
  CHECK(MustLoad({"--bootstrap-alone"}).bootstrap_alone);
  CHECK(MustLoad({"--bootstrap-alone", "true"}).bootstrap_alone);
  CHECK_FALSE(MustLoad({"--bootstrap-alone=false"}, {{"PODMIRROR_BOOTSTRAP_ALONE", "true"}})
                  .bootstrap_alone);
  CHECK(MustLoad({"--bootstrap-alone", "--service=s"}).bootstrap_alone);
}

TEST_CASE("what Kubernetes injects for a Service called podmirror is ignored") {
  const Settings s = MustLoad({}, {{"PODMIRROR_PORT", "tcp://10.0.0.1:8080"},
                                   {"PODMIRROR_SERVICE_HOST", "10.0.0.1"},
                                   {"PODMIRROR_SERVICE_PORT", "8080"},
                                   {"PODMIRROR_PORT_8080_TCP", "tcp://10.0.0.1:8080"}});
  CHECK(s.rest_listen->port == 8080);
  for (const Setting& setting : Table()) {
    CHECK(setting.name != "port");
    CHECK_FALSE(setting.name.starts_with("service-"));
  }
}

TEST_CASE("an empty value is no boolean") {
  for (const Arguments& empty : {Arguments{"--bootstrap-alone="}, {"--bootstrap-alone", ""}}) {
    CHECK(Refusal(empty).starts_with("bootstrap-alone: \"\" is neither true nor false"));
  }
  CHECK(Contains(Refusal({}, {{"PODMIRROR_BOOTSTRAP_ALONE", ""}}), "bootstrap-alone: "));
}

TEST_CASE("the value of a flag may end in an equals sign") {
  CHECK(MustLoad({"--selector=app="}).selector == "app=");
  CHECK(MustLoad({"--selector", "app="}).selector == "app=");
  CHECK(MustLoad({"--cluster=="}).cluster == "=");
}

TEST_CASE("the file of settings needs a name") {
  CHECK(Refusal({"--config=", "--discovery=none"}) == "config: \"\" is no file");
  CHECK(Refusal({"--config", "", "--discovery=none"}) == "config: \"\" is no file");
}

TEST_CASE("a service link that has a setting's name is ignored, with one warning") {
  for (const std::string link : {"tcp://10.0.0.1:7070", "udp://[fd00::1]:7070"}) {
    const Environment environment = {{"PODMIRROR_PEER_PORT", link}, {"PODMIRROR_PORT", link}};
    const auto loaded = LoadWith({"--discovery=none"}, environment);
    INFO(loaded.status().ToString());
    REQUIRE(loaded.ok());
    CHECK(loaded->settings.peer_port == 7070);
    REQUIRE(loaded->warnings.size() == 1);
    CHECK(loaded->warnings[0].starts_with("peer-port: "));
    CHECK(Contains(loaded->warnings[0], "PODMIRROR_PEER_PORT"));
    const TemporaryFile file("peer-port = 7171\n");
    CHECK(MustLoad({"--config", file.path()}, environment).peer_port == 7171);
  }
  CHECK(LoadWith({"--discovery=none"}, {{"PODMIRROR_PEER_PORT", "7171"}})->warnings.empty());
  CHECK(LoadWith({"--discovery=none"}, {{"PODMIRROR_PORT", "tcp://a:1"}})->warnings.empty());
  // Only names that end in _PORT are service links, only values of these two schemes.
  CHECK(MustLoad({}, {{"PODMIRROR_CLUSTER", "tcp://a:1"}}).cluster == "tcp://a:1");
  CHECK(Contains(Refusal({}, {{"PODMIRROR_PEER_PORT", "http://a:1"}}), "peer-port: "));
}

TEST_CASE("unknown flags, keys and shapes are refused by name") {
  CHECK(Contains(Refusal({"--colour=red"}), "--colour"));
  CHECK(Contains(Refusal({"stray"}), "stray"));
  CHECK(Contains(Refusal({"--ack"}), "--ack"));
  CHECK(Contains(Refusal({"--ack=all", "--ack=one"}), "--ack"));
  const auto in_file = [](const std::string& text) {
    const TemporaryFile file(text);
    return Refusal({"--config", file.path()});
  };
  CHECK(Contains(in_file("colour = 1"), "colour"));
  CHECK(Contains(in_file("[rest]\nlisten = 1"), "rest"));
  CHECK(Contains(in_file("ack = ['all']"), "ack"));
  CHECK(Contains(in_file("ack-timeout = 1.5"), "ack-timeout"));
  CHECK(Contains(in_file("peers = [1]"), "peers"));
  CHECK(Contains(in_file("ack = 'all'\nack = 'one'"), "line 2"));
  CHECK(Contains(in_file("ack = \xff"), "line 1"));
  std::string deep = "a";
  for (int i = 0; i < 250'000; ++i) deep += ".a";
  CHECK(Contains(in_file("\n" + deep + " = 1"), "line 2: more than 8 dots outside of strings"));
  CHECK(Contains(Refusal({"--config", "/none/such"}), "/none/such"));
  CHECK(Contains(Refusal({"--config", "/etc"}), "/etc"));
  CHECK(Contains(Refusal({"--config", "/dev/zero"}), "larger"));
}

TEST_CASE("numbers that do not fit are refused") {
  CHECK(Contains(Refusal({"--max-memory=17179869184GiB"}), "max-memory"));
  CHECK(Contains(Refusal({"--max-memory=99999999999999999999"}), "max-memory"));
  CHECK(Contains(Refusal({"--tombstone-ttl=18446744073709551615h"}), "tombstone-ttl"));
  CHECK(Contains(Refusal({"--rest-listen=127.0.0.1:65536"}), "rest-listen"));
  CHECK(Contains(Refusal({"--rest-listen=127.0.0.1:"}), "rest-listen"));
  CHECK(Contains(Refusal({"--peers=127.0.0.1:0"}), "peers"));
}

TEST_CASE("a message stays one line of bounded length whatever the value holds") {
  const std::string message = Refusal({"--ack", "a\nb\r" + std::string(100'000, 'x')});
  CHECK(message.size() < 300);
  CHECK(message.find('\r') == std::string::npos);
}

TEST_CASE("a message about flags or the items of a list is one line of bounded length, too") {
  CHECK(Contains(Refusal({"--nonsense=a\nb"}), "--nonsense=a?b"));
  CHECK(Refusal({"stray\n" + std::string(100'000, 'x')}).size() < 300);
  CHECK(Contains(Refusal({"--peers=a\nb"}), "a?b"));
  CHECK(Contains(Refusal({"--etcd-endpoints=a\nb"}), "a?b"));
  CHECK(Refusal({"--peers=" + std::string(100'000, 'x')}).size() < 300);
}

TEST_CASE("texts have to be UTF-8, since peers take them in no other form") {
  for (const Setting& setting : Table()) {
    INFO(setting.name);
    if (Samples().at(setting.name).bad != "\x01") continue;  // no text
    CHECK(Contains(Refusal({"--" + setting.name, "a\xff"}), setting.name + ": "));
    CHECK(Contains(Refusal({"--" + setting.name, "a\xff"}), "is not UTF-8"));
  }
  CHECK(Contains(Refusal({}, {{"POD_NAME", "\xc3"}}), "is not UTF-8"));
  CHECK(MustLoad({"--pod-name=\xc3\xa4"}).pod.name == "\xc3\xa4");
}

TEST_CASE("settings that do not fit together are refused") {
  CHECK(Refusal({}).starts_with("service: required"));
  CHECK(Refusal({"--discovery=etcd-v2"}).starts_with("service: required"));
  CHECK(Refusal({"--service=a", "--selector=b=c"}).starts_with("selector: "));
  CHECK(Refusal({"--discovery=static"}).starts_with("peers: required"));
  CHECK(Refusal({"--discovery=kube-api"}).starts_with("service: required"));
  CHECK(Refusal({"--discovery=kube-api", "--service=a"}).starts_with("kube-api-url: required"));
  CHECK(Refusal({"--discovery=registry"}).starts_with("service: required"));
  CHECK(Refusal({"--discovery=registry", "--service=a"}).starts_with("pod-ip: required"));
  CHECK(Refusal({"--discovery=registry", "--service=a", "--pod-ip=::1",
                 "--registry-schema=registry"}) ==
        "registry-schema: \"registry\" is where Kubernetes keeps its own records");
  CHECK(Refusal({"--discovery=registry", "--service=a", "--pod-ip=::1", "--selector=b"})
            .starts_with("selector: "));
  CHECK(Refusal({"--discovery=registry", "--service=a", "--pod-ip=::1", "--etcd-user=u"})
            .starts_with("etcd-password-file: "));
  CHECK(Refusal({"--service= "}) == "service: holds only blanks");
  CHECK(Refusal({"--selector=  "}) == "selector: holds only blanks");
  CHECK(Refusal({"--discovery=kube-api", "--selector= "}) == "selector: holds only blanks");
  CHECK(Refusal({"--discovery=registry", "--service= "}) == "service: holds only blanks");
  CHECK(Refusal({"--service=a", "--grpc-listen=[::]:0"}).starts_with("peer-port: "));
  CHECK(Refusal({"--service=a", "--etcd-cert=/dev/null"}).starts_with("etcd-key: "));
  CHECK(Refusal({"--service=a", "--etcd-user=u"}).starts_with("etcd-password-file: "));
  CHECK(Refusal({"--discovery=none", "--drain-delay=11s"}).starts_with("drain-delay: "));
  CHECK(Refusal({"--discovery=none", "--rest-listen=[::]:7070"}).starts_with("grpc-listen: "));
}

TEST_CASE("kube-api takes what Kubernetes gives a pod, and no token where it could be seen") {
  const auto load = [](const Arguments& more, Environment environment) {
    Arguments arguments = {"--service=a", "--discovery=kube-api"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    environment.emplace("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    environment.emplace("KUBERNETES_SERVICE_PORT", "6443");
    const auto loaded = LoadWith(arguments, environment);
    INFO(loaded.status().ToString());
    REQUIRE(loaded.ok());
    return loaded->settings;
  };
  const std::string folder = "/var/run/secrets/kubernetes.io/serviceaccount/";
  Settings s = load({}, {});
  CHECK(s.kube_api_url == "https://10.96.0.1:6443");
  CHECK(s.kube_token_file == folder + "token");
  CHECK(s.kube_ca == folder + "ca.crt");
  s = load({"--kube-ca=/dev/null"}, {{"KUBERNETES_SERVICE_HOST", "fd00::a1"}});
  CHECK(s.kube_api_url == "https://[fd00::a1]:6443");
  CHECK(s.kube_token_file == folder + "token");
  CHECK(s.kube_ca == "/dev/null");
  s = load({"--kube-api-url=http://127.0.0.1:8001"}, {});
  CHECK(s.kube_api_url == "http://127.0.0.1:8001");
  CHECK(s.kube_token_file.empty());
  CHECK(s.kube_ca.empty());
}

TEST_CASE("--help, --version and --check-config") {
  const auto help = LoadWith({"--help"});
  REQUIRE(help.ok());
  for (const Setting& setting : Table()) CHECK(Contains(help->print, "--" + setting.name));
  const auto version = LoadWith({"--version"});
  REQUIRE(version.ok());
  CHECK(version->print == std::string(Version()) + "\n");
  CHECK(LoadWith({"--check-config", "--discovery=none"})->check_only);
  CHECK_FALSE(LoadWith({"--discovery=none"})->check_only);
  CHECK(Refusal({"--check-config"}).starts_with("service: required"));
}

TEST_CASE("the sample file loads, holds every setting and shows the defaults") {
  std::ifstream file(PODMIRROR_SAMPLE);
  std::string line;
  std::map<std::string, bool> shown;  // name -> active (not an example)
  while (std::getline(file, line)) {
    const bool active = !line.starts_with('#');
    const std::string text = active ? line : line.substr(1);
    const std::size_t equals = text.find(" = ");
    if (equals == std::string::npos) continue;
    const std::string name = text.substr(0, equals);
    if (name.find(' ') == std::string::npos) CHECK(shown.emplace(name, active).second);
  }
  for (const Setting& setting : Table()) {
    INFO(setting.name);
    REQUIRE(shown.contains(setting.name));
    CHECK(shown[setting.name] == (!setting.fallback.empty() || setting.name == "service"));
  }
  CHECK(shown.size() == Table().size());

  const auto sample = LoadWith({"--config", PODMIRROR_SAMPLE});
  INFO(sample.status().ToString());
  REQUIRE(sample.ok());
  const auto defaults = LoadWith({"--service=podmirror"});
  REQUIRE(defaults.ok());
  for (const auto& [name, value] : Samples()) {
    INFO(name);
    CHECK(value.read(sample->settings) == value.read(defaults->settings));
  }
}

}  // namespace
}  // namespace podmirror::settings
