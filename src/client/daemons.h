// What a Client knows of the daemons that it calls, for people and for tests.
// Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace podmirror::client {

enum class DaemonState {
  kConnecting,  // nothing is known of it yet, or its connection was lost just now
  kReady,       // gets calls
  kNotReady,    // answers that it is not ready; asked again
  kDraining,    // ends; gets reads only, and those only while no other daemon is ready
  kFailed,      // cannot be reached or does not answer; tried again
};

// "connecting", "ready", "not-ready", "draining", "failed".
std::string_view ToString(DaemonState state);

struct Daemon {
  std::string name;     // as discovery calls it; "host:port" of a static list
  std::string address;  // "ip:port"
  DaemonState state = DaemonState::kConnecting;
  std::string error;        // why it is kNotReady, kDraining or kFailed
  std::uint64_t calls = 0;  // attempts of calls that it got since it was found
};

struct Daemons {
  std::vector<Daemon> daemons;  // in the order of discovery
  std::string discovery_error;  // empty while the source of daemons can be read
  // Why a file of Options::tls or the token's is not taken as it is now; empty when all are.
  std::string credentials_error;
};

}  // namespace podmirror::client
