// Settings of the daemon: loaded and checked once at start, then constant.
// Every setting has one name: flag --rest-listen, environment PODMIRROR_REST_LISTEN, key
// rest-listen in a TOML file; the first of these that is given counts, else the default. The table
// of all of them (name, default, meaning, range) is settings/table.cpp.
// Thread safety: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/peer.h"
#include "base/status.h"

namespace podmirror::settings {

// An address to listen on or to dial. The host is an IP address without brackets, or a name.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;

  std::string ToString() const;  // "[::]:8080", "127.0.0.1:8080"
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// All members are valid after Load; the meaning of each is in the table and in
// config/podmirrord.toml.
struct Settings {
  using Ms = std::chrono::milliseconds;

  // An address to listen on, or nothing: "off". At least one of REST's and one of gRPC's is there.
  using Listen = std::optional<HostPort>;

  Listen rest_listen;
  Listen grpc_listen;
  Listen rest_tls_listen;
  Listen grpc_tls_listen;
  Listen health_listen;
  // 1..65535; 0 only where the port listened on is 0 and discovery, static or none, does not need
  // it. Without a plain gRPC port it is peer_tls_port.
  std::uint64_t peer_port = 0;
  std::uint64_t peer_tls_port = 0;  // the same for TLS

  // An empty file name means: no file.
  std::string tls_cert;
  std::string tls_key;  // never empty where tls_cert is not
  std::string tls_ca;
  std::vector<std::string> tls_peers;  // empty: the names in tls_cert
  std::string peer_tls;                // "off", "prefer", "require"
  Ms tls_reload_interval{};
  bool tls() const { return !tls_cert.empty(); }

  bool auth_required = false;
  std::string auth_file;
  std::string auth_jwt_issuer;
  std::string auth_jwt_audience;
  std::string auth_jwks;  // a file, or https://...
  std::string audit;      // "off", "denied", "writes", "all"

  std::string discovery;  // "etcd", "etcd-v2", "kube-api", "registry", "static", "none"
  std::vector<std::string> etcd_endpoints;  // "http://host:port" or "https://host:port"
  std::string etcd_prefix;
  std::string etcd_ca;
  std::string etcd_cert;
  std::string etcd_key;
  std::string etcd_user;
  std::string etcd_password_file;
  // For kube-api. An empty file name means: no file.
  std::string kube_api_url;  // "https://host:port"
  std::string kube_token_file;
  std::string kube_ca;
  std::string registry_schema;
  Ms registry_ttl{};
  std::string ns;       // namespace
  std::string service;  // exactly one of service and selector with a Kubernetes source
  std::string selector;
  std::string container;           // empty: the only or first one
  std::vector<std::string> peers;  // "host:port"
  std::string cluster;
  Identity pod;

  std::string ack;  // "local", "one", "majority", "all"
  Ms ack_timeout{};
  std::uint64_t max_key_bytes = 0;
  std::uint64_t max_value_bytes = 0;
  std::uint64_t max_batch_bytes = 0;
  std::uint64_t max_connections = 0;
  Ms request_timeout{};
  std::uint64_t max_watchers = 0;
  std::uint64_t max_memory = 0;  // 0 = no limit
  std::uint64_t backlog_bytes = 0;
  std::uint64_t change_log_bytes = 0;
  Ms tombstone_ttl{};
  Ms repair_interval{};
  Ms bootstrap_timeout{};
  bool bootstrap_alone = false;
  Ms drain_timeout{};
  Ms drain_delay{};

  std::string log_level;   // "debug", "info", "warn", "error"
  std::string log_format;  // "json", "text"
};

// What the process finds around it when it starts.
struct Surroundings {
  std::function<std::optional<std::string>(const std::string& name)> environment;
  std::string hostname;   // Kubernetes sets it to the pod's name
  std::string uid;        // made up for this run; used with registry when pod-uid is not set
  bool terminal = false;  // whether stdout is a terminal

  static Surroundings Real();
};

struct Loaded {
  Settings settings;
  bool check_only = false;  // --check-config was given
  // What was ignored and might be missed, one line for each that names the setting.
  std::vector<std::string> warnings;
  std::string print;  // what --help or --version ask for; then `settings` is not filled
};

// Reads flags, environment and the file that --config names, and checks all of it. `arguments` are
// those after the program's name. Fails with kInvalid and one line that names the setting.
// Unknown PODMIRROR_* variables are ignored: Kubernetes injects some for a Service called
// podmirror. A service link that has a setting's name (PODMIRROR_PEER_PORT=tcp://10.0.0.1:7070, for
// a Service called podmirror-peer) is ignored with a warning.
Result<Loaded> Load(std::span<const char* const> arguments, const Surroundings& surroundings);

// "0.1.0"
std::string_view Version();

}  // namespace podmirror::settings
