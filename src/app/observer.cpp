#include "app/observer.h"

#include <utility>

namespace podmirror::app {
namespace {

using sync::EventKind;

// How an event is logged: its level and message, and the names of the fields that hold its peer and
// its detail.
struct Shape {
  LogLevel level;
  std::string_view msg;
  std::string_view peer;
  std::string_view detail;
};

Shape ShapeOf(EventKind kind) {
  switch (kind) {
    case EventKind::kPeerAdded:
      return {LogLevel::kInfo, "a pod was found", "peer", "ip"};
    case EventKind::kPeerRemoved:
      return {LogLevel::kInfo, "a pod is gone", "peer", "detail"};
    case EventKind::kPeerConnected:
      return {LogLevel::kInfo, "connected to a peer", "peer", "protocol"};
    case EventKind::kPeerLost:
      return {LogLevel::kWarn, "no connection to a peer", "peer", "error"};
    case EventKind::kPeerRefused:
      return {LogLevel::kWarn, "a peer does not belong to us", "peer", "error"};
    case EventKind::kBootstrapStarted:
      return {LogLevel::kInfo, "copying from a peer", "donor", "protocol"};
    case EventKind::kBootstrapDone:
      return {LogLevel::kInfo, "synced", "donor", "how"};
    case EventKind::kReady:
      return {LogLevel::kInfo, "ready", "peer", "detail"};
    case EventKind::kNotReady:
      return {LogLevel::kInfo, "not ready", "peer", "reason"};
    case EventKind::kRepairDone:
      return {LogLevel::kInfo, "a repair pass is complete", "peer", "reason"};
    case EventKind::kDeadDropped:
      return {LogLevel::kWarn, "dropped what was deleted while out of contact", "peer", "detail"};
    case EventKind::kClocksApart:
      return {LogLevel::kWarn, "clocks are apart", "peer", "clock"};
    case EventKind::kFloorHeld:
      return {LogLevel::kWarn, "deletes cannot be forgotten", "peer", "reason"};
    case EventKind::kGetAllFailed:
      return {LogLevel::kWarn, "an old service cannot give what it holds", "peer", "error"};
    case EventKind::kDraining:
      return {LogLevel::kInfo, "handing over to the peers", "peer", "detail"};
    case EventKind::kDrained:
      return {LogLevel::kInfo, "handed over", "peer", "detail"};
  }
  return {LogLevel::kWarn, "unknown event", "peer", "detail"};
}

void Count(const sync::Event& event, telemetry::Metrics& metrics) {
  switch (event.kind) {
    case EventKind::kPeerConnected:
      metrics.PeerEvent("connected");
      break;
    case EventKind::kPeerLost:
      metrics.PeerEvent("lost");
      break;
    case EventKind::kPeerRefused:
      metrics.PeerEvent("refused");
      break;
    case EventKind::kDeadDropped:
      for (const auto& [name, count] : event.numbers) metrics.DeadDropped(count);
      break;
    case EventKind::kRepairDone: {
      std::uint64_t entries = 0;
      for (const auto& [name, count] : event.numbers) entries += count;  // received and sent
      metrics.Repair(event.detail, entries);
      break;
    }
    default:
      break;
  }
}

}  // namespace

sync::Driver::Observer NewObserver(Log& log, telemetry::Metrics& metrics) {
  return [&log, &metrics](const sync::Event& event) {
    Count(event, metrics);
    const Shape shape = ShapeOf(event.kind);
    std::vector<LogField> fields;
    if (!event.peer.empty()) fields.emplace_back(shape.peer, event.peer);
    if (!event.detail.empty()) fields.emplace_back(shape.detail, event.detail);
    for (const auto& [name, number] : event.numbers) fields.emplace_back(name, number);
    log.Event(shape.level, sync::ToString(event.kind), shape.msg, fields);
  };
}

}  // namespace podmirror::app
