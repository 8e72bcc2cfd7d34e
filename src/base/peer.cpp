#include "base/peer.h"

#include <functional>
#include <limits>
#include <tuple>

namespace podmirror {
namespace {

WallMs StartOrLast(const PodRecord& record) {
  return record.started_at_ms != 0 ? record.started_at_ms : std::numeric_limits<WallMs>::max();
}

}  // namespace

bool OlderThan(const PodRecord& a, const PodRecord& b) {
  return std::make_tuple(StartOrLast(a), std::cref(a.uid), std::cref(a.ip), a.port) <
         std::make_tuple(StartOrLast(b), std::cref(b.uid), std::cref(b.ip), b.port);
}

}  // namespace podmirror
