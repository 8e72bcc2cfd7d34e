#include "settings/table.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <vector>

namespace podmirror::settings {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Setting::Kind;
using S = Settings;

constexpr std::uint64_t kKiB = 1u << 10;
constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kAnySize = std::numeric_limits<std::int64_t>::max();

std::vector<Setting> Listening() {
  return {
      {"rest-listen", Kind::kScalar, Listen(&S::rest_listen), "[::]:8080", "",
       "address of REST, health and metrics"},
      {"grpc-listen", Kind::kScalar, Listen(&S::grpc_listen), "[::]:7070", "",
       "address for the other pods and gRPC clients"},
      {"rest-tls-listen", Kind::kScalar, Listen(&S::rest_tls_listen), "off", "",
       "address of REST over TLS"},
      {"grpc-tls-listen", Kind::kScalar, Listen(&S::grpc_tls_listen), "off", "",
       "address of gRPC over TLS"},
      {"health-listen", Kind::kScalar, Listen(&S::health_listen), "off", "",
       "a plain address for /healthz, /readyz and /metrics alone"},
      {"peer-port", Kind::kScalar, Number(&S::peer_port, 1, 65535), "", "",
       "gRPC port of the other pods [port of grpc-listen]"},
      {"max-connections", Kind::kScalar, Number(&S::max_connections, 1, 1'000'000), "1024", "",
       "open REST connections; more are turned away"},
      {"request-timeout", Kind::kScalar, Duration(&S::request_timeout, milliseconds(1), hours(1)),
       "10s", "", "from the first byte of a REST request to its last"},
      {"max-watchers", Kind::kScalar, Number(&S::max_watchers, 1, 1'000'000), "4096", "",
       "watches and waiting reads at a time; more are turned away"},
  };
}

std::vector<Setting> Trust() {
  return {
      {"tls-cert", Kind::kScalar, File(&S::tls_cert), "", "",
       "PEM file: our certificate, and those between it and its authority"},
      {"tls-key", Kind::kScalar, File(&S::tls_key), "", "",
       "PEM file: its private key [in tls-cert]"},
      {"tls-ca", Kind::kScalar, File(&S::tls_ca), "", "",
       "PEM file: who may sign the certificates of peers and clients"},
      {"tls-peers", Kind::kList, Texts(&S::tls_peers), "", "",
       "URI or DNS names of which a peer's certificate must carry one [those in tls-cert]"},
      {"peer-tls", Kind::kScalar, Choice(&S::peer_tls, {"off", "prefer", "require"}), "off", "",
       "how peers are reached: off, prefer (by TLS, else plain) or require"},
      {"peer-tls-port", Kind::kScalar, Number(&S::peer_tls_port, 1, 65535), "", "",
       "gRPC port of the other pods for TLS [port of grpc-tls-listen]"},
      {"auth", Kind::kScalar, Switch(&S::auth_required, "off", "required"), "off", "",
       "whether callers must show who they are: off or required"},
      {"auth-file", Kind::kScalar, File(&S::auth_file), "", "",
       "TOML file: roles, and who has them"},
      {"auth-jwt-issuer", Kind::kScalar, Text(&S::auth_jwt_issuer), "", "",
       "whose tokens are taken (the iss of a JWT)"},
      {"auth-jwt-audience", Kind::kScalar, Text(&S::auth_jwt_audience), "podmirror", "",
       "what they must be for (the aud of a JWT)"},
      {"auth-jwks", Kind::kScalar, Text(&S::auth_jwks), "", "",
       "the keys of that issuer: a JWKS file, or its https URL"},
      {"audit", Kind::kScalar, Choice(&S::audit, {"off", "denied", "writes", "all"}), "off", "",
       "what is told line by line: off, denied, writes or all"},
      {"tls-reload-interval", Kind::kScalar,
       Duration(&S::tls_reload_interval, milliseconds(100), hours(1)), "10s", "",
       "how often these files are looked at"},
  };
}

std::vector<Setting> Discovery() {
  return {
      {"discovery", Kind::kScalar,
       Choice(&S::discovery, {"etcd", "etcd-v2", "kube-api", "registry", "static", "none"}), "etcd",
       "", "how the other pods are found: etcd, etcd-v2, kube-api, registry, static or none"},
      {"etcd-endpoints", Kind::kList, Urls(&S::etcd_endpoints), "http://127.0.0.1:2379", "",
       "etcd's client URLs, http or https"},
      {"etcd-prefix", Kind::kScalar, Prefix(&S::etcd_prefix), "/registry", "",
       "Kubernetes' key prefix in etcd"},
      {"etcd-ca", Kind::kScalar, File(&S::etcd_ca), "", "", "PEM file: who may sign etcd's cert"},
      {"etcd-cert", Kind::kScalar, File(&S::etcd_cert), "", "", "PEM file: our client certificate"},
      {"etcd-key", Kind::kScalar, File(&S::etcd_key), "", "", "PEM file: its private key"},
      {"etcd-user", Kind::kScalar, Text(&S::etcd_user), "", "", "user name in etcd"},
      {"etcd-password-file", Kind::kScalar, File(&S::etcd_password_file), "", "",
       "file with that user's password"},
      {"kube-api-url", Kind::kScalar, Url(&S::kube_api_url), "", "",
       "the Kubernetes API [https://KUBERNETES_SERVICE_HOST:KUBERNETES_SERVICE_PORT]"},
      {"kube-token-file", Kind::kScalar, File(&S::kube_token_file), "", "",
       "file with the token for it [the pod's own with https]"},
      {"kube-ca", Kind::kScalar, File(&S::kube_ca), "", "",
       "PEM file: who may sign its cert [the pod's own with https]"},
      {"registry-schema", Kind::kScalar, Text(&S::registry_schema), "podmirror", "",
       "for registry: the keys are /<registry-schema>/<service>/<ip:port>"},
      {"registry-ttl", Kind::kScalar, Duration(&S::registry_ttl, seconds(1), hours(1)), "10s", "",
       "for registry: how long a daemon that died stays listed"},
      {"namespace", Kind::kScalar, Text(&S::ns), "", "",
       "where the pods live [pod-namespace, else default]"},
      {"service", Kind::kScalar, Text(&S::service), "", "",
       "pods whose name contains this are peers"},
      {"selector", Kind::kScalar, Text(&S::selector), "", "",
       "instead of service, a label selector: a=b,c!=d,e in (x,y),!f"},
      {"container", Kind::kScalar, Text(&S::container), "", "",
       "the container whose start counts [the only or first one]"},
      {"peers", Kind::kList, HostPorts(&S::peers), "", "",
       "for static: host:port of each, or a DNS name that has many addresses"},
      {"cluster", Kind::kScalar, Text(&S::cluster), "", "",
       "checked on every connection [<namespace>/<service or selector>]"},
      {"pod-name", Kind::kScalar, Text(&Identity::name), "", "POD_NAME",
       "this pod's name [POD_NAME, else the host name]"},
      {"pod-namespace", Kind::kScalar, Text(&Identity::ns), "", "POD_NAMESPACE",
       "this pod's namespace [POD_NAMESPACE, else namespace]"},
      {"pod-uid", Kind::kScalar, Text(&Identity::uid), "", "POD_UID", "this pod's UID [POD_UID]"},
      {"pod-ip", Kind::kScalar, Address(&Identity::ip), "", "POD_IP", "this pod's IP [POD_IP]"},
  };
}

std::vector<Setting> Data() {
  return {
      {"ack", Kind::kScalar, Choice(&S::ack, {"local", "one", "majority", "all"}), "all", "",
       "who must have applied a write before it is answered, unless it says so itself"},
      {"ack-timeout", Kind::kScalar, Duration(&S::ack_timeout, milliseconds(1), hours(1)), "1s", "",
       "how long that is waited for"},
      {"max-key-bytes", Kind::kScalar, Size(&S::max_key_bytes, 1, 32 * kKiB), "512", "",
       "longest key"},
      {"max-value-bytes", Kind::kScalar, Size(&S::max_value_bytes, 1, 48 * kMiB), "1MiB", "",
       "largest value"},
      {"max-batch-bytes", Kind::kScalar, Size(&S::max_batch_bytes, kKiB, 60 * kMiB), "16MiB", "",
       "largest body of a request with many entries"},
      {"max-memory", Kind::kScalar, Size(&S::max_memory, 0, kAnySize), "0", "",
       "memory of entries, tombstones and overhead; 0 = no limit"},
      {"backlog-bytes", Kind::kScalar, Size(&S::backlog_bytes, kMiB, kAnySize), "64MiB", "",
       "writes kept for slow or absent peers"},
      {"change-log-bytes", Kind::kScalar, Size(&S::change_log_bytes, kMiB, kAnySize), "32MiB", "",
       "recent changes kept for those that watch"},
      {"tombstone-ttl", Kind::kScalar, Duration(&S::tombstone_ttl, seconds(1), hours(8760)), "1h",
       "", "how long a delete is remembered at least"},
      {"repair-interval", Kind::kScalar,
       Duration(&S::repair_interval, milliseconds(100), hours(24)), "10s", "",
       "how often peers that differ repair"},
      {"bootstrap-timeout", Kind::kScalar,
       Duration(&S::bootstrap_timeout, milliseconds(1), hours(24)), "30s", "",
       "how long peers neither Ready nor reachable hold up a start"},
      {"bootstrap-alone", Kind::kBool, Bool(&S::bootstrap_alone), "false", "",
       "start without the data that unreachable Ready peers hold"},
  };
}

std::vector<Setting> Running() {
  return {
      {"drain-timeout", Kind::kScalar, Duration(&S::drain_timeout, milliseconds(1), hours(1)),
       "10s", "", "longest time to hand over after SIGTERM"},
      {"drain-delay", Kind::kScalar, Duration(&S::drain_delay, milliseconds(0), hours(1)), "0s", "",
       "shortest time from SIGTERM until the ports close"},
      {"log-level", Kind::kScalar, Choice(&S::log_level, {"debug", "info", "warn", "error"}),
       "info", "", "least level that is logged: debug, info, warn or error"},
      {"log-format", Kind::kScalar, Choice(&S::log_format, {"json", "text"}), "", "",
       "json or text [json; text on a terminal]"},
  };
}

}  // namespace

std::string Setting::variable() const {
  std::string variable = "PODMIRROR_" + name;
  std::transform(variable.begin(), variable.end(), variable.begin(), [](char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  });
  return variable;
}

std::span<const Setting> Table() {
  static const std::vector<Setting> table = [] {
    std::vector<Setting> all;
    for (auto part : {Listening(), Trust(), Discovery(), Data(), Running()}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }();
  return table;
}

}  // namespace podmirror::settings
