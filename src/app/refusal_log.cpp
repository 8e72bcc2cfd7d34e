#include "app/refusal_log.h"

namespace podmirror::app {

void RefusalLog::PeerRefused(const std::string& ip, const std::string& reason) {
  const SteadyMs now = env_.now().steady;
  {
    absl::MutexLock lock(&mu_);
    const std::string what = ip + " " + reason;
    if (said_.contains(what) && now - said_[what] < kAgainMs) return;
    absl::erase_if(said_, [now](const auto& line) { return now - line.second >= kAgainMs; });
    if (said_.size() >= kMostLines) return;
    said_[what] = now;
  }
  log_.Event(LogLevel::kWarn, "peer_refused", "a daemon that is no peer was turned away",
             {{"ip", ip}, {"error", reason}});
}

}  // namespace podmirror::app
