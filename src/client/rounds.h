// Rounds is the order in which the daemons are tried by who follows one of them for long: one after
// the other, each once, then a pause, which is longer each time until one was of use. It is another
// order each time: else all who lose a daemon would meet at the next one.
// Thread safety: none.
#pragma once

#include "base/env.h"
#include "base/status.h"
#include "client/pool.h"

namespace podmirror::client {

// Who was followed for so long was of use, and may be the next one again.
inline constexpr SteadyMs kOfUseMs = 5000;

class Rounds {
 public:
  // Both must outlive this.
  Rounds(Pool& pool, Env& env) : pool_(pool), env_(env) { wish_.read = wish_.spread = true; }

  // The next daemon of this round; waits for one, a second at most. When there is none, wait for
  // EndRound(), then ask again.
  Result<Pool::Choice> Next();
  // One has been tried in this round.
  bool tried() const { return !wish_.tried.empty(); }
  // How long to pause now, in milliseconds.
  SteadyMs EndRound();
  // It is not followed any more.
  void Ended(const Pool::Choice& choice, bool of_use);

 private:
  static constexpr SteadyMs kChooseMs = 1000;
  static constexpr SteadyMs kFirstPauseMs = 200;
  static constexpr SteadyMs kLastPauseMs = 2000;

  Pool& pool_;
  Env& env_;
  Pool::Wish wish_;
  SteadyMs pause_ = kFirstPauseMs;
};

}  // namespace podmirror::client
