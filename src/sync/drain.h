// Drain ends a node: what others lack is handed over before it goes.
// Thread safety: none; belongs to the Node.
#pragma once

#include <cstdint>

#include "base/env.h"
#include "sync/peers.h"
#include "sync/self.h"
#include "sync/writes.h"

namespace podmirror::sync {

class Drain {
 public:
  Drain(Self& self, Peers& peers, const Writes& writes)
      : self_(self), peers_(peers), writes_(writes) {}

  void Leave() { self_.leaving = true; }
  void Begin(Now now);
  // Something has come that only we may hold: only a pass that begins from now on hands it over.
  // Does nothing while we do not drain.
  void HandOver(Now now);
  // Peers have what they lacked, or cannot be reached.
  bool Done() const;

 private:
  Self& self_;
  Peers& peers_;
  const Writes& writes_;
  SteadyMs began_at_ = 0;
  std::uint64_t hlc_ = 0;  // a pass that began at or after it hands over all that we hold
};

}  // namespace podmirror::sync
