// A PeerSource tells who the other pods are. It emits whole peer sets, never deltas, so that a lost
// event heals itself; trouble never empties the set. Each source runs one thread of its own.
// Thread safety: Start once, Stop once; Refresh from any thread. Events come from the source's own
// thread, one at a time, none after Stop has returned. Stop returns within a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "telemetry/metrics.h"

namespace podmirror::net {
class GrpcQueue;
}

namespace podmirror::discovery {

struct SourceEvents {
  // A good answer, also when nothing has changed: it shows that the set is still true. `revision`:
  // at which revision of the store it was read, 0 where the store has none.
  std::function<void(PeerSet set, std::int64_t revision)> peers;
  // The source cannot be read now; the last known set stays. Not repeated while the text is the
  // same.
  std::function<void(const std::string& error)> failed;
  // One record cannot be read; once per key and revision. `where` is its key.
  std::function<void(const std::string& where, const std::string& reason)> unreadable;
};

// Which records are peers, the same for every source that reads pod records.
struct PodFilter {
  Identity self;
  std::string ns;         // namespace
  std::string service;    // the pod's name contains it; empty: `selector` counts
  std::string selector;   // label selector a=b,c!=d,e in (x,y),!f
  std::string container;  // empty: the only or first one
  std::uint16_t peer_port = 0;
};

struct EtcdOptions {
  std::vector<std::string> endpoints;  // http://host:port or https://host:port
  std::string prefix = "/registry";
  std::string ca_file, cert_file, key_file, user, password_file;
  // For v3's watches and reads, where the program speaks gRPC in other places too; must outlive the
  // source. Null: the source has its own.
  net::GrpcQueue* queue = nullptr;
};

struct KubeApiOptions {
  std::string url;           // https://host:port; http:// only with a loopback address
  std::string token_file{};  // read for each request; empty: no token is sent
  std::string ca_file{};     // who may sign the API's certificate; empty: the system's authorities
  // Longest silence of a watch. The API sends a bookmark about once a minute.
  std::chrono::milliseconds quiet_limit{90'000};
};

// How a daemon registers itself where there are no pod records.
struct RegistryOptions {
  Identity self;           // uid and ip are needed, and the name is shown
  std::uint16_t port = 0;  // where the others reach this daemon, at self.ip
  std::string schema = "podmirror";
  std::string service;
  std::chrono::milliseconds ttl{10'000};  // etcd counts whole seconds: rounded up
};

class PeerSource {
 public:
  virtual ~PeerSource() = default;
  virtual void Start(SourceEvents events) = 0;
  virtual void Stop() = 0;
  // Reads everything again soon (at most about once a second however often it is called).
  virtual void Refresh() = 0;
  // Tells whether this daemon is ready, for a source that publishes it. From any thread.
  virtual void SetReady(bool /*ready*/) {}
};

// Each returns kInvalid with the name of the setting when its options are wrong. `metrics` and
// `env` must outlive the source.
Result<std::unique_ptr<PeerSource>> NewEtcdV3Source(EtcdOptions etcd, PodFilter filter,
                                                    telemetry::Metrics& metrics, Env& env);
Result<std::unique_ptr<PeerSource>> NewEtcdV2Source(EtcdOptions etcd, PodFilter filter,
                                                    telemetry::Metrics& metrics, Env& env);
Result<std::unique_ptr<PeerSource>> NewKubeApiSource(KubeApiOptions options, PodFilter filter,
                                                     telemetry::Metrics& metrics, Env& env);
// peers: "host:port" each, [v6]:port too; DNS names stand for all their addresses and are resolved
// again every `resolve_interval`. This pod itself is left out by its IP and port (or by handshake).
Result<std::unique_ptr<PeerSource>> NewStaticSource(const std::vector<std::string>& peers,
                                                    const Identity& self, std::uint16_t self_port,
                                                    std::chrono::milliseconds resolve_interval,
                                                    telemetry::Metrics& metrics, Env& env);
// Every daemon writes "/<schema>/<service>/<ip:port>" into any etcd under a lease of `ttl`, which
// Stop revokes, and the others read it. etcd.prefix does not count.
Result<std::unique_ptr<PeerSource>> NewRegistrySource(EtcdOptions etcd,
                                                      const RegistryOptions& registry,
                                                      telemetry::Metrics& metrics, Env& env);
// Reads the same entries for a client, which has no entry of its own: all of them are peers.
Result<std::unique_ptr<PeerSource>> NewRegistryView(EtcdOptions etcd, const std::string& schema,
                                                    const std::string& service,
                                                    telemetry::Metrics& metrics, Env& env);
// A source without peers.
std::unique_ptr<PeerSource> NewNoneSource(Env& env);

}  // namespace podmirror::discovery
