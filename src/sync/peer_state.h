// PeerState is what a peer has told of itself, in the handshake and in heartbeats of either of the
// two streams between us.
// Thread safety: none; belongs to its Link.
#pragma once

#include <cstdint>
#include <string>

#include "base/env.h"
#include "sync/clock.h"
#include "sync/message.h"

namespace podmirror::sync {

struct PeerState {
  Incarnation incarnation = 0;  // the last one met, 0 = none yet
  std::string uid;              // empty before the first handshake
  WallMs process_started_ms = 0;
  bool fragments = false;  // it has kFragmentsFeature
  bool verdicts = false;   // it has kConditionsFeature
  bool synced = false;
  bool draining = false;
  bool link_open = false;  // its own link to us is open
  bool lost = false;       // as in Heartbeat
  PeerClock clock;
  bool clock_apart = false;  // it was last said to be far from ours
  std::uint64_t purge_floor = 0;
  std::uint64_t contact = 0;  // as in Heartbeat; 0 before the first one of a stream
  std::uint64_t bound = 0;    // the same

  void OnHelloReply(const HelloReply& reply, SteadyMs now) {
    incarnation = reply.self.incarnation;
    uid = reply.self.uid;
    process_started_ms = reply.self.process_started_ms;
    fragments = !reply.legacy && (reply.self.features & kFragmentsFeature) != 0;
    verdicts = !reply.legacy && (reply.self.features & kConditionsFeature) != 0;
    synced = reply.self.synced;
    draining = false;
    link_open = reply.link_open;
    lost = false;
    clock.Told(reply.self.wall, now);
    purge_floor = reply.self.purge_floor;
    contact = 0;
    bound = 0;
  }

  // What does not depend on the stream that it came on.
  void OnHeartbeat(const Heartbeat& heartbeat) {
    synced = heartbeat.synced;
    draining = heartbeat.draining;
    lost = heartbeat.lost;
    purge_floor = heartbeat.purge_floor;
    contact = heartbeat.contact;
    bound = heartbeat.bound;
  }
};

}  // namespace podmirror::sync
