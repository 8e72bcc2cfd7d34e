// The Pool keeps one connection to each daemon and chooses who gets the next call: round robin over
// those that are ready and connected. A daemon that failed comes back when it has answered a probe:
// a read of no keys, which succeeds only at a daemon that is ready or draining. So a daemon that
// said it is draining gets no probe until its connection is gone. One that refuses the client's
// probe for who it is, is called all the same: the calls are to be told that.
// A connection that was lost is made anew with what the credentials' files hold then.
// Thread safety: all calls from any thread; Stop once, before the end.
// Invariants: (1) Choose gives only daemons of the last set, and none after Stop.
//             (2) at most one probe of a daemon is under way, each ends within kProbeTimeoutMs.
//             (3) no lock is held while a probe is started or a connection is dropped.
//             (4) no connection is dropped on a thread of gRPC's: when the last channel of a
//                 process is destroyed, gRPC waits for the threads of its callbacks to end, and a
//                 thread cannot wait for itself.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "client/channel.h"
#include "client/credentials.h"
#include "client/daemons.h"
#include "client/verdict.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::client {

class Pool {
 public:
  static constexpr SteadyMs kProbeTimeoutMs = 1000;

  using TlsFiles = std::shared_ptr<const Credentials::TlsFiles>;

  struct Connection {
    Connection(const std::string& target, const std::shared_ptr<Credentials>& credentials,
               TlsFiles made_with)
        : tls(std::move(made_with)),
          channel(NewChannel(target, credentials, tls)),
          stub(v1::Cache::NewStub(channel)) {}

    const TlsFiles tls;
    const std::shared_ptr<grpc::Channel> channel;
    const std::unique_ptr<v1::Cache::Stub> stub;
  };

  struct Endpoint;

  // The daemon for one attempt of a call. Its connection lives as long as the Choice, even when the
  // daemon leaves the set.
  struct Choice {
    std::shared_ptr<Endpoint> endpoint;
    std::shared_ptr<Connection> connection;
    int others = 0;  // how many other daemons could be chosen now, at most Wish::count_others
  };

  // What one call has tried and still may.
  struct Wish {
    std::vector<std::shared_ptr<Endpoint>> tried;  // not to be chosen again
    bool read = false;    // a daemon that drains will do, if no other is ready
    bool spread = false;  // begins anywhere, and not where the last call ended: this one stays
    int count_others = 0;
    SteadyMs until = 0;  // how long to wait for a daemon
  };

  Pool(Env& env, int max_daemons, std::shared_ptr<Credentials> credentials);
  ~Pool();

  // Ends probes; calls keep the connections that they have.
  void Stop();

  // Sets the daemons from now on; those that were in the last set too keep their connections. An
  // empty set is told as an error, and the last set stays: when all daemons vanish at once, more
  // often the list was lost than every daemon, and dead daemons get no calls anyway.
  void SetDaemons(const PeerSet& set);
  // The source of daemons cannot be read; the last set stays.
  void SetDiscoveryError(const std::string& error);

  // kUnavailable with the reason when there was none in time, or none is left to be tried.
  Result<Choice> Choose(const Wish& wish);
  // How the attempt ended.
  void Report(const Choice& choice, const Verdict& verdict);
  // The same daemon with a connection that was made after that of `choice`: with these files, if
  // nobody else has made one. For a call that is tried again because files have changed.
  Choice Renew(const Choice& choice, const TlsFiles& tls);

  Daemons View();

  static std::string NameOf(const Choice& choice);

 private:
  struct Probe;
  using Endpoints = std::vector<std::shared_ptr<Endpoint>>;
  using Probes = std::vector<std::shared_ptr<Probe>>;

  void Run();
  // Makes the probes that are due, and returns when the next one is.
  SteadyMs TakeDue(Probes& due) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartProbe(Probe& probe);
  // Puts a new connection in place of one that is dead, or lost while files have changed.
  void Reconnect(Probe& probe, const TlsFiles& tls);
  std::shared_ptr<Connection> Connect(const Endpoint& endpoint, const TlsFiles& tls);
  void Probed(Probe& probe, const grpc::Status& status);

  bool TryChoose(const Wish& wish, Choice& choice) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Usable(Endpoint& endpoint, DaemonState wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AnyUntried(const Wish& wish) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetState(Endpoint& endpoint, DaemonState state, const std::string& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Plans the next probe: the more often the daemon has failed, the later.
  void PlanProbe(Endpoint& endpoint) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Status WhyNone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Env& env_;
  const std::size_t max_daemons_;
  const std::shared_ptr<Credentials> credentials_;
  mutable absl::Mutex mu_;
  absl::CondVar changed_;  // a daemon became ready, a probe was planned or ended, Stop
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  Endpoints endpoints_ ABSL_GUARDED_BY(mu_);  // what they point to is guarded too
  std::size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  int probes_ ABSL_GUARDED_BY(mu_) = 0;  // under way
  Probes ended_ ABSL_GUARDED_BY(mu_);    // to be dropped by the prober
  std::string discovery_error_ ABSL_GUARDED_BY(mu_);
  std::thread prober_;
};

}  // namespace podmirror::client
