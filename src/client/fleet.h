// The daemons as a client has them: where they are, what they are shown, and the connections.
// Thread safety: all calls from any thread; New, Start and the destructor by the owner.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "base/env.h"
#include "base/status.h"
#include "client/credentials.h"
#include "client/options.h"
#include "client/pool.h"
#include "client/verdict.h"
#include "discovery/peer_source.h"
#include "telemetry/metrics.h"

namespace podmirror::client {

// No option and no call may name a longer time.
inline constexpr std::chrono::milliseconds kLongest{3'600'000};

class Fleet {
 public:
  // source: not started yet; null for that of the options. kInvalid names the option that is wrong.
  static Result<std::unique_ptr<Fleet>> New(const Options& options,
                                            std::unique_ptr<discovery::PeerSource> source,
                                            Env& env);
  ~Fleet();

  // Looks for daemons from now on.
  void Start();
  // No call gets a daemon any more.
  void Stop() { pool_.Stop(); }

  // Makes an attempt at this daemon: attempt(choice, credentials) says how it ended. Once more, on
  // a new connection, where the daemon does not know us and files have changed since they were
  // read.
  template <typename Attempt>
  Verdict At(Pool::Choice& choice, const Attempt& attempt) {
    auto with = credentials_->Get(Credentials::kForCallMs);
    Verdict verdict = attempt(choice, *with);
    if (verdict.outcome != Outcome::kStranger) return verdict;
    const auto before = std::exchange(with, credentials_->Get(Credentials::kNowMs));
    if (with->token == before->token && with->tls == choice.connection->tls) return verdict;
    choice = pool_.Renew(choice, with->tls);
    return attempt(choice, *with);
  }

  Env& env() { return env_; }
  Pool& pool() { return pool_; }

 private:
  Fleet(const Options& options, Env& env, std::shared_ptr<Credentials> credentials);
  void SetDaemons(PeerSet set);

  const std::uint16_t tls_port_;  // 0: the one that is listed
  Env& env_;
  telemetry::Metrics metrics_;  // of the source; nobody reads them
  const std::shared_ptr<Credentials> credentials_;
  Pool pool_;
  std::unique_ptr<discovery::PeerSource> source_;
};

}  // namespace podmirror::client
