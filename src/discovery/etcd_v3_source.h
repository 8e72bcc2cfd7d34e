// Lists and watches records of any kind that lie side by side in etcd v3.
// Thread safety: that of PeerSource.
#pragma once

#include <memory>

#include "discovery/etcd_options.h"
#include "discovery/peer_source.h"
#include "discovery/pod_store.h"

namespace podmirror::discovery {

// The records are the keys below options.where; `rules` are asked from the source's thread.
std::unique_ptr<PeerSource> NewEtcdV3RecordSource(CheckedEtcdOptions options, RecordRules rules,
                                                  telemetry::Metrics& metrics, Env& env);

}  // namespace podmirror::discovery
