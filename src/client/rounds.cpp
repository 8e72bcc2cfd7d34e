#include "client/rounds.h"

#include <algorithm>
#include <utility>

namespace podmirror::client {

Result<Pool::Choice> Rounds::Next() {
  wish_.until = env_.now().steady + kChooseMs;
  return pool_.Choose(wish_);
}

SteadyMs Rounds::EndRound() {
  wish_.tried.clear();
  return std::exchange(pause_, std::min(2 * pause_, kLastPauseMs));
}

void Rounds::Ended(const Pool::Choice& choice, bool of_use) {
  if (of_use) {
    wish_.tried.clear();
    pause_ = kFirstPauseMs;
  }
  wish_.tried.push_back(choice.endpoint);
}

}  // namespace podmirror::client
