// What the sync core reports, as log lines and counters.
// Thread safety: the observer may be called from any thread.
#pragma once

#include "app/log.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::app {

// `log` and `metrics` must outlive the observer.
sync::Driver::Observer NewObserver(Log& log, telemetry::Metrics& metrics);

}  // namespace podmirror::app
