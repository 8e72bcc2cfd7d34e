#include "client/source.h"

namespace podmirror::client {

Result<std::unique_ptr<discovery::PeerSource>> NewSource(const Options& options,
                                                         telemetry::Metrics& metrics) {
  // A client is no daemon: there is no address of its own to leave out.
  return discovery::NewStaticSource(options.peers, Identity{}, 0, options.resolve_interval,
                                    metrics);
}

}  // namespace podmirror::client
