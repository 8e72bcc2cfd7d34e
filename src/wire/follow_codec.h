// The stream of changes of podmirror.v1.Follow in its domain form, and back. What is asked beside
// it are messages of podmirror.v1.Peer: codec.h. Thread safety: pure functions.
#pragma once

#include "base/status.h"
#include "follow/follower.h"
#include "podmirror/v1/follow.pb.h"

namespace podmirror::wire {

void Encode(const follow::Changes& changes, v1::ChangesResponse* to);

// kInvalid, naming what is wrong.
Result<follow::Changes> Decode(const v1::ChangesResponse& from);

}  // namespace podmirror::wire
