// Options of a Client: where the daemons are, how they are known and are told who calls, how long a
// call may take, how much it may use.
// Thread safety: plain value.
#pragma once

#include <chrono>
#include <cstdint>
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

// TLS to the daemons' `grpc-tls-listen`. A daemon is called only when its certificate is of one of
// the authorities and carries a name that is expected: by its chain alone none is accepted.
// All files are PEM, and are followed while the client runs: a new connection is made with what
// they hold then, one that is there stays. What cannot be used, as a key that does not fit the
// certificate, is not taken: the former stays, and Daemons::credentials_error says why.
struct Tls {
  std::string ca{};  // the authorities; empty: the system's, read once in a process
  // The client's own chain and its key, which may be in the same file; both or none.
  std::string cert{}, key{};
  // The daemon's certificate must carry one of these: DNS names or URIs of its subject alternative
  // names, as in the daemons' `tls-peers`. A "*" stands for one whole label or path segment:
  // "*.shop.svc", "spiffe://cluster.local/ns/shop/sa/*".
  // None: the certificate must be valid for the DNS name of one of `peers`, which then must all be
  // DNS names. It need not be the one that led to the daemon: all are one cluster's.
  std::vector<std::string> names{};
  // Where not `peers` but a registry says where the daemons are: their TLS port, because it lists
  // the plain one. 0: the port that is listed.
  std::uint16_t port = 0;
};

// `peers` or `registry` says where the daemons are.
struct Options {
  // The daemons' gRPC ports: "host:port" each, [v6]:port too. A DNS name stands for all addresses
  // that it has, and is looked up again every `resolve_interval`.
  std::vector<std::string> peers{};
  std::chrono::milliseconds resolve_interval{1000};

  std::optional<Registry> registry{};

  // Absent: no TLS.
  std::optional<Tls> tls{};
  // A file with the token that each call brings, at most 16 KiB; the line end after it is not part
  // of it. It is followed like the files of `tls`: the next call brings the new token.
  std::string token_file{};
  // A token opens everything to whoever reads it: without `tls` New refuses to send one, unless
  // this says that the network may see it.
  bool allow_token_without_tls = false;

  // How long a call may take: waiting for a daemon and all attempts together. A write may take its
  // ack timeout longer. GetAll may take so long for each message, not for all messages together.
  // The daemons' `ack-timeout` must be shorter, or a write without an ack timeout of its own runs
  // out of time.
  std::chrono::milliseconds deadline{2000};
  // A call is tried at so many daemons at most, once at each. (One that does not know the caller is
  // asked again when the files have changed: client.h.)
  int max_attempts = 3;
  // Calls at the same time; more are refused with kExhausted.
  int max_calls = 1024;
  // Of more daemons than this only the first, in the order of discovery, are used.
  int max_daemons = 256;
};

}  // namespace podmirror::client
