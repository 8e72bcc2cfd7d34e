// Options of a Client: where the daemons are, how long a call may take, how much it may use.
// Thread safety: plain value.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace podmirror::client {

// The etcd in which daemons register that run with `--discovery registry`. Each member means the
// same as the daemons' setting of that name; the files that it names are read as by a daemon.
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
  // ack timeout longer. GetAll may take so long for each message, not for all messages together.
  // The daemons' `ack-timeout` must be shorter, or a write without an ack timeout of its own runs
  // out of time.
  std::chrono::milliseconds deadline{2000};
  // A call is tried at so many daemons at most, once at each.
  int max_attempts = 3;
  // Calls at the same time; more are refused with kExhausted.
  int max_calls = 1024;
  // Of more daemons than this only the first, in the order of discovery, are used.
  int max_daemons = 256;
};

}  // namespace podmirror::client
