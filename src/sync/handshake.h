// Handshake: what we tell of ourselves, and who may talk to us.
// Thread safety: pure functions; called under the driver's mutex.
#pragma once

#include <string>

#include "base/env.h"
#include "sync/message.h"
#include "sync/peers.h"
#include "sync/retention.h"
#include "sync/self.h"

namespace podmirror::sync {

Introduction Introduce(const Self& self, Now now);
// As far as it is the same for all peers.
Heartbeat Beat(const Self& self, const Peers& peers, const Retention& retention, Now now);

struct Refusal {
  RefusalReason reason = RefusalReason::kNone;
  std::string detail;  // for people; empty when there is no reason to refuse
};
// Of a daemon that opened a stream to us.
Refusal CheckHello(const Self& self, const Hello& hello, Now now);
// Of the daemon that `link` leads to. kSelf: it is this process, or one that another link leads to.
Refusal CheckReply(const Self& self, const Peers& peers, const Link& link, const HelloReply& reply,
                   Now now);

}  // namespace podmirror::sync
