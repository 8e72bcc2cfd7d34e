#include "sync/types.h"

namespace podmirror::sync {

std::string_view ToString(AckLevel level) {
  switch (level) {
    case AckLevel::kLocal:
      return "local";
    case AckLevel::kOne:
      return "one";
    case AckLevel::kMajority:
      return "majority";
    case AckLevel::kAll:
      return "all";
  }
  return "unknown";
}

std::string_view ToString(NodeState state) {
  switch (state) {
    case NodeState::kBootstrapping:
      return "bootstrapping";
    case NodeState::kReady:
      return "ready";
    case NodeState::kDraining:
      return "draining";
  }
  return "unknown";
}

std::string_view ToString(LinkState state) {
  switch (state) {
    case LinkState::kConnecting:
      return "connecting";
    case LinkState::kStreaming:
      return "streaming";
    case LinkState::kRepairing:
      return "repairing";
    case LinkState::kLegacy:
      return "legacy";
    case LinkState::kRefused:
      return "refused";
  }
  return "unknown";
}

std::string_view ToString(EventKind kind) {
  switch (kind) {
    case EventKind::kPeerAdded:
      return "peer_added";
    case EventKind::kPeerRemoved:
      return "peer_removed";
    case EventKind::kPeerConnected:
      return "peer_connected";
    case EventKind::kPeerLost:
      return "peer_lost";
    case EventKind::kPeerRefused:
      return "peer_refused";
    case EventKind::kBootstrapStarted:
      return "bootstrap_started";
    case EventKind::kBootstrapDone:
      return "bootstrap_done";
    case EventKind::kReady:
      return "ready";
    case EventKind::kNotReady:
      return "not_ready";
    case EventKind::kRepairDone:
      return "repair_done";
    case EventKind::kDeadDropped:
      return "dead_dropped";
    case EventKind::kClocksApart:
      return "clocks_apart";
    case EventKind::kFloorHeld:
      return "floor_held";
    case EventKind::kGetAllFailed:
      return "get_all_failed";
    case EventKind::kDraining:
      return "draining";
    case EventKind::kDrained:
      return "drained";
  }
  return "unknown";
}

}  // namespace podmirror::sync
