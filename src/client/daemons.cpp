#include "client/daemons.h"

namespace podmirror::client {

std::string_view ToString(DaemonState state) {
  switch (state) {
    case DaemonState::kConnecting:
      return "connecting";
    case DaemonState::kReady:
      return "ready";
    case DaemonState::kNotReady:
      return "not-ready";
    case DaemonState::kDraining:
      return "draining";
    case DaemonState::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace podmirror::client
