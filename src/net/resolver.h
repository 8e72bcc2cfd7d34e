// Resolves names to addresses within a deadline. getaddrinfo can block for many seconds and cannot
// be interrupted, so each look-up runs on a thread of its own and the caller may stop waiting.
// Thread safety: Cancel from any thread, all else from one.
// Invariants: (1) at most one lookup per name is under way, however often it is asked for.
//             (2) Resolve returns within its timeout, and soon after Cancel.
#pragma once

#include <absl/synchronization/mutex.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"

namespace podmirror::net {

class Resolver {
 public:
  using Addresses = std::vector<std::string>;  // canonical, sorted, each once, at least one

  explicit Resolver(Env& env);
  ~Resolver();

  // One result per name, in the order of `names`. Errors: kNotFound or kUnavailable with the
  // reason, kExhausted when there are more than 4096 addresses, kDeadline when there was no answer
  // in time or Cancel was called. An IP address stands for itself. When only the question for IPv4
  // or only that for IPv6 is answered, the other family keeps the addresses of the last answer.
  // Requires: `names` holds each name once.
  std::vector<Result<Addresses>> Resolve(const std::vector<std::string>& names,
                                         std::chrono::milliseconds timeout);

  // Ends the Resolve under way and all later ones, until Rearm.
  void Cancel();
  void Rearm();

 private:
  struct Shared;
  struct Lookup;

  Result<Addresses> Take(const std::string& name);

  Env& env_;
  const std::shared_ptr<Shared> shared_;  // outlives us while a lookup is under way
  std::map<std::string, std::shared_ptr<Lookup>> lookups_;
  std::map<std::string, Addresses> answers_;  // the last ones, by name
};

}  // namespace podmirror::net
