// Who the daemons must be and who the client is: the files that Options names, followed while they
// change. They are looked at when something needs them, not by a thread of their own, and compared
// by content: times of files say little where files are links that are swapped.
// Thread safety: all calls from any thread. A look reads files, so Get may take as long as that.
// Invariants: (1) what is given out was whole and fitted together when it was read: a certificate
//                 and the key that belongs to it.
//             (2) what was taken once stays until something better is read.
//             (3) there is a token only with TLS, or where Options allows one without.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "client/daemon_names.h"
#include "client/options.h"

namespace podmirror::client {

class Credentials {
 public:
  // What a connection is made with, in PEM. Absent texts are empty.
  struct TlsFiles {
    std::string ca, cert, key;
    friend bool operator==(const TlsFiles&, const TlsFiles&) = default;
  };

  // What the files held at one time.
  struct State {
    // nullptr: no TLS. The same object as before as long as no file has changed.
    std::shared_ptr<const TlsFiles> tls;
    std::string token;  // empty: none

    // Gives the call the token. Before the call is started.
    void AddTo(grpc::ClientContext& context) const;
  };

  // How old a look may be: for a call, for a new connection, and when a daemon did not accept what
  // it was shown.
  static constexpr SteadyMs kForCallMs = 1000;
  static constexpr SteadyMs kForConnectionMs = 100;
  static constexpr SteadyMs kNowMs = 0;

  // Reads all files. kInvalid names the option that is wrong.
  static Result<std::shared_ptr<Credentials>> New(const Options& options, Env& env);

  // What the files held at a look that began `max_age` before this call at the earliest. Never
  // nullptr.
  std::shared_ptr<const State> Get(SteadyMs max_age);

  // Whether a connection made with these files is one that would be made now: by a look that is not
  // older than one for a new connection.
  bool IsCurrent(const std::shared_ptr<const TlsFiles>& tls) {
    return Get(kForConnectionMs)->tls == tls;
  }

  // Who the daemons must be. Requires: with TLS.
  const DaemonNames& names() const { return *names_; }

  // Why files are not taken as they are now; empty when they are.
  std::string error() const;

 private:
  struct Paths {
    std::string ca, cert, key, token;
  };

  Credentials(const Options& options, std::optional<DaemonNames> names, Env& env);

  // Puts what the files hold now into `state`; what cannot be used changes nothing there. The
  // status is of the first thing that is wrong.
  Status Read(State& state) const;

  const Paths paths_;
  const bool tls_;
  const std::optional<DaemonNames> names_;  // with TLS
  Env& env_;

  absl::Mutex looking_ ABSL_ACQUIRED_BEFORE(mu_);  // held by whoever reads the files
  mutable absl::Mutex mu_;
  std::int64_t looked_at_ns_ ABSL_GUARDED_BY(mu_) = 0;  // when the last look began
  std::shared_ptr<const State> state_ ABSL_GUARDED_BY(mu_);
  std::string error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::client
