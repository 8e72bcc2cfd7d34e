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

}  // namespace podmirror::discovery
