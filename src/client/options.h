// Options of a Client: where the daemons are, how long a call may take, how much it may use.
// Thread safety: plain value.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace podmirror::client {

// Where daemons run with `--discovery registry`: the etcd that they register in. Each member is the
// daemons' setting of that name, and what it names is read when they would read it.
struct Registry {
  std::vector<std::string> etcd_endpoints{};  // http://host:port or https://host:port
  std::string service{};
  std::string schema = "podmirror";  // `registry-schema`
  std::string etcd_ca{}, etcd_cert{}, etcd_key{}, etcd_user{}, etcd_password_file{};
};

// `peers` or `registry` says where the daemons are.
struct Options {
  // The daemons' gRPC ports: "host:port" each, [v6]:port too. A DNS name stands for all addresses
  // that it has, and is looked up again every `resolve_interval`.
  std::vector<std::string> peers{};
  std::chrono::milliseconds resolve_interval{1000};

  std::optional<Registry> registry{};

  // How long a call may take: waiting for a daemon and all attempts together. A write may take its
  // ack timeout longer. GetAll may take so long for each step, not for all.
  // The daemons' own `ack-timeout` must be shorter, or a write that says none runs out of time.
  std::chrono::milliseconds deadline{2000};
  // A call goes to so many daemons at most, to each once.
  int max_attempts = 3;
  // Calls at the same time; more are refused with kExhausted.
  int max_calls = 1024;
  // Of more daemons than this only the first, in the order of discovery, are used.
  int max_daemons = 256;
};

}  // namespace podmirror::client
