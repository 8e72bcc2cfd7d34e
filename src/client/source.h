// Where a client's daemons come from: the one place that knows the kinds of sources.
// Thread safety: pure function.
#pragma once

#include <memory>

#include "base/env.h"
#include "base/status.h"
#include "client/options.h"
#include "discovery/peer_source.h"
#include "telemetry/metrics.h"

namespace podmirror::client {

// kInvalid names the option that is wrong. `metrics` and `env` must outlive the source.
Result<std::unique_ptr<discovery::PeerSource>> NewSource(const Options& options,
                                                         telemetry::Metrics& metrics, Env& env);

}  // namespace podmirror::client
