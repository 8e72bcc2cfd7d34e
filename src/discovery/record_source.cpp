#include "discovery/record_source.h"

#include <string>
#include <utility>

namespace podmirror::discovery {

void RecordSource::Start(SourceEvents events) {
  reporter_ = std::make_unique<Reporter>(std::move(events), metrics_);
  store_ =
      std::make_unique<PodStore>(rules_, [this](const std::string& key, const std::string& reason) {
        reporter_->Unreadable(key, reason);
      });
  thread_.Start([this] { Run(); });
}

void RecordSource::Emit(std::string where, std::int64_t revision) {
  PeerSet set = store_->MakeSet(std::move(where));
  if (watch_error_.empty() || told_ != set) {
    told_ = set;
    reporter_->Peers(std::move(set), revision);
  }
  if (!watch_error_.empty()) reporter_->Failed(watch_error_);
}

void RecordSource::WatchFailed(const Status& status) {
  reporter_->Count("error");
  if (++failed_watches_ < kFailedWatches) return;
  watch_error_ = "the watch fails again and again: " + status.message();
}

void RecordSource::WatchGood(SteadyMs begun) {
  if (thread_.now() - begun < kProvenWatchMs) return;
  failed_watches_ = 0;
  watch_error_.clear();
}

}  // namespace podmirror::discovery
