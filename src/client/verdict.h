// What the end of one attempt of a call means: for the caller, for the daemon that was asked, and
// whether another one may be asked. client.h says why reads and writes differ.
// Thread safety: pure functions.
#pragma once

#include <grpcpp/support/status.h>

#include "base/status.h"

namespace podmirror::client {

enum class Outcome {
  kAnswered,   // an answer, good or bad: another daemon would say the same
  kElsewhere,  // refused, not applied: this daemon cannot do it, another one may
  kStranger,   // refused, not applied: the daemon does not accept the token or certificate
  kNotNow,     // refused, not applied: the daemon is not ready or overloaded
  kDraining,   // refused, not applied: the daemon is about to end and takes no more writes
  kNotSent,    // the daemon was not reached, or closed its port before it took the call
  kLost,       // no answer, or none to rely on: a write may have been applied
  kLate,       // as kLost, because time ran out
};

struct Verdict {
  Outcome outcome = Outcome::kAnswered;
  Status status;  // as a read would tell it
};

// `given_up`: the call may have been cancelled on this side.
Verdict Judge(const grpc::Status& status, bool given_up = false);

bool MayReadElsewhere(Outcome outcome);
bool MayWriteElsewhere(Outcome outcome);

// The verdict's status as a write tells it: kUncertain where it may have been applied.
Status OfWrite(const Verdict& verdict);

}  // namespace podmirror::client
