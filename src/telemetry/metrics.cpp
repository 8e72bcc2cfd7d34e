#include "telemetry/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace podmirror::telemetry {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

// 10 µs .. 10 s: a local read takes tens of microseconds, a timed-out request up to 10 s.
constexpr std::array<double, 19> kRequestBounds = {
    10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3,
    25e-3, 50e-3, 0.1,   0.25,   0.5,    1,      2.5,  5,      10};

constexpr std::array<std::string_view, 5> kMethods = {"GET", "PUT", "DELETE", "HEAD", "POST"};
constexpr std::array<std::string_view, 5> kPeerStates = {"connecting", "streaming", "repairing",
                                                         "legacy", "refused"};

// Clients invent methods, and each would be a time series of its own: the unknown ones share one.
std::string_view KnownMethod(std::string_view method) {
  const auto* found = std::find(kMethods.begin(), kMethods.end(), method);
  return found == kMethods.end() ? "other" : *found;
}

// Makes a text from a pod record safe as a label value. The serializer would write a newline as it
// is, and bytes that are not UTF-8 would make the whole scrape fail.
std::string LabelValue(std::string_view text) {
  std::string value(text);
  std::replace_if(
      value.begin(), value.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return value;
}

ClientMetric Sample(std::vector<ClientMetric::Label> labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  return metric;
}

MetricFamily Gauges(std::string name, std::string help, std::vector<ClientMetric> samples) {
  return {std::move(name), std::move(help), prometheus::MetricType::Gauge, std::move(samples)};
}

MetricFamily OneCounter(std::string name, std::string help, double value) {
  ClientMetric metric;
  metric.counter.value = value;
  return {std::move(name), std::move(help), prometheus::MetricType::Counter, {std::move(metric)}};
}

MetricFamily OneGauge(std::string name, std::string help, double value) {
  return Gauges(std::move(name), std::move(help), {Sample({}, value)});
}

// Appends the families of the peers that are in the set now: a peer that has left vanishes.
void AppendPeers(const std::vector<Snapshot::Peer>& peers, std::vector<MetricFamily>& out) {
  std::map<std::string_view, int> states;
  for (const std::string_view state : kPeerStates) states[state] = 0;
  // Two records may share a name (old and new pod of a StatefulSet); two samples may not.
  std::map<std::string, Snapshot::Peer> by_name;
  for (const Snapshot::Peer& peer : peers) {
    ++states[peer.state];
    Snapshot::Peer& worst = by_name[LabelValue(peer.name)];
    worst.replication_lag_seconds =
        std::max(worst.replication_lag_seconds, peer.replication_lag_seconds);
    worst.behind_bytes = std::max(worst.behind_bytes, peer.behind_bytes);
    if (std::abs(peer.clock_ahead_seconds) > std::abs(worst.clock_ahead_seconds)) {
      worst.clock_ahead_seconds = peer.clock_ahead_seconds;
    }
  }
  std::vector<ClientMetric> counts;
  counts.reserve(states.size());
  for (const auto& [state, count] : states) {
    counts.push_back(Sample({{"state", std::string(state)}}, count));
  }
  std::vector<ClientMetric> lags;
  std::vector<ClientMetric> behinds;
  std::vector<ClientMetric> clocks;
  lags.reserve(by_name.size());
  behinds.reserve(by_name.size());
  clocks.reserve(by_name.size());
  for (const auto& [name, peer] : by_name) {
    lags.push_back(Sample({{"peer", name}}, peer.replication_lag_seconds));
    behinds.push_back(Sample({{"peer", name}}, static_cast<double>(peer.behind_bytes)));
    clocks.push_back(Sample({{"peer", name}}, peer.clock_ahead_seconds));
  }
  out.push_back(Gauges("podmirror_peers", "Peers by state of our link to them", std::move(counts)));
  out.push_back(Gauges("podmirror_replication_lag_seconds",
                       "Age of the oldest write that the peer has not acknowledged",
                       std::move(lags)));
  out.push_back(Gauges("podmirror_behind_bytes", "Our writes that the peer has not acknowledged",
                       std::move(behinds)));
  out.push_back(Gauges("podmirror_clock_ahead_seconds", "The peer's wall clock before ours",
                       std::move(clocks)));
}

std::vector<MetricFamily> Families(const Snapshot& now) {
  std::vector<MetricFamily> out;
  const auto add = [&out](const char* name, const char* help, auto value) {
    out.push_back(OneGauge(name, help, static_cast<double>(value)));
  };
  add("podmirror_entries", "Entries held, without tombstones", now.entries);
  add("podmirror_tombstones", "Tombstones held", now.tombstones);
  add("podmirror_bytes", "Bytes of keys and values of the entries", now.bytes);
  add("podmirror_memory_bytes", "Memory of entries, tombstones and their overhead",
      now.memory_bytes);
  add("podmirror_watchers", "Watches and waiting reads", now.watchers);
  add("podmirror_ready", "1 when this pod is ready, else 0", now.ready);
  add("podmirror_discovery_healthy", "1 when the last question to the source got a good answer",
      now.discovery_healthy);
  add("podmirror_discovery_self_listed", "1 when the last answer of the source lists this pod",
      now.discovery_self_listed);
  add("podmirror_discovery_age_seconds", "Since the last good answer of the source",
      now.discovery_age_seconds);
  add("podmirror_bootstrap_seconds", "What the start took or has taken so far",
      now.bootstrap_seconds);
  if (now.tls_expiry_seconds != 0) {
    add("podmirror_tls_certificate_expiry_timestamp_seconds",
        "When the certificate in use expires, in seconds since 1970", now.tls_expiry_seconds);
  }
  ClientMetric unauthorized = Sample({{"reason", "unauthorized"}}, 0);
  unauthorized.counter.value = static_cast<double>(now.unauthorized);
  ClientMetric forbidden = Sample({{"reason", "forbidden"}}, 0);
  forbidden.counter.value = static_cast<double>(now.forbidden);
  out.push_back({"podmirror_denied_total",
                 "Requests of nobody who is known, and requests that were not allowed",
                 prometheus::MetricType::Counter,
                 {std::move(unauthorized), std::move(forbidden)}});
  out.push_back(OneCounter("podmirror_expired_total", "Entries whose time to live ended here",
                           static_cast<double>(now.expired)));
  out.push_back(OneCounter("podmirror_log_dropped_total",
                           "Lines of the log that were lost because nobody read it",
                           static_cast<double>(now.log_dropped)));
  out.push_back(Gauges("podmirror_build_info", "Always 1; the version is the label",
                       {Sample({{"version", PODMIRROR_VERSION}}, 1)}));
  AppendPeers(now.peers, out);
  return out;
}

}  // namespace

struct Metrics::Impl {
  using RequestKey = std::tuple<std::string_view, std::string_view, int>;  // method, route, code

  prometheus::Family<prometheus::Counter>& Counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }

  prometheus::Histogram& Requests(std::string_view method, std::string_view route, int code)
      ABSL_LOCKS_EXCLUDED(mu);

  prometheus::Registry registry;  // has its own lock, as each of its metrics does
  prometheus::Family<prometheus::Histogram>& rest_requests =
      prometheus::BuildHistogram()
          .Name("podmirror_rest_request_seconds")
          .Help("From the complete request to its answer")
          .Register(registry);
  prometheus::Gauge& rest_connections = prometheus::BuildGauge()
                                            .Name("podmirror_rest_connections")
                                            .Help("Open REST connections")
                                            .Register(registry)
                                            .Add({});
  prometheus::Family<prometheus::Counter>& discovery_events =
      Counter("podmirror_discovery_events_total", "What the discovery source met");
  prometheus::Family<prometheus::Counter>& repairs =
      Counter("podmirror_repairs_total", "Completed repair passes");
  prometheus::Counter& repaired_entries =
      Counter("podmirror_repaired_entries_total", "Entries exchanged by repair passes").Add({});
  prometheus::Family<prometheus::Counter>& peer_events =
      Counter("podmirror_peer_events_total", "Links opened, lost and refused");
  prometheus::Family<prometheus::Counter>& tls_refused = Counter(
      "podmirror_tls_refused_total", "Connections refused for their TLS or their certificate");
  prometheus::Counter& turned_away =
      Counter("podmirror_grpc_turned_away_total",
              "gRPC connections not let in, of addresses refused as peers too often")
          .Add({});
  prometheus::Family<prometheus::Counter>& tls_reloads =
      Counter("podmirror_tls_reloads_total",
              "Changed files of certificates that were taken, or refused and the former kept");
  prometheus::Counter& dead_dropped =
      Counter("podmirror_dead_dropped_total",
              "Entries dropped that were deleted while this pod was out of contact")
          .Add({});
  prometheus::Counter& legacy_skipped =
      Counter("podmirror_legacy_values_skipped_total", "Values that hellorpc cannot carry").Add({});

  absl::Mutex mu;
  // Finds a histogram without building a map of its labels for each observation. The views in the
  // keys point into `route_names`, kMethods and literals.
  absl::flat_hash_map<RequestKey, prometheus::Histogram*> requests ABSL_GUARDED_BY(mu);
  absl::node_hash_set<std::string> route_names ABSL_GUARDED_BY(mu);

  std::function<Snapshot()> snapshot;  // set before the first Render
};

prometheus::Histogram& Metrics::Impl::Requests(std::string_view method, std::string_view route,
                                               int code) {
  {
    absl::ReaderMutexLock lock(&mu);
    const auto found = requests.find(RequestKey(method, route, code));
    if (found != requests.end()) return *found->second;
  }
  prometheus::Histogram& histogram = rest_requests.Add(
      {{"method", std::string(method)},
       {"route", LabelValue(route)},
       {"code", std::to_string(code)}},
      prometheus::Histogram::BucketBoundaries(kRequestBounds.begin(), kRequestBounds.end()));
  absl::MutexLock lock(&mu);
  const std::string& name = *route_names.emplace(route).first;
  requests.emplace(RequestKey(method, name, code), &histogram);
  return histogram;
}

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}

Metrics::~Metrics() = default;

void Metrics::SetSnapshotSource(std::function<Snapshot()> source) {
  impl_->snapshot = std::move(source);
}

void Metrics::RestRequest(std::string_view method, std::string_view route, int code,
                          double seconds) {
  impl_->Requests(KnownMethod(method), route, code).Observe(seconds);
}

void Metrics::RestConnections(int change) { impl_->rest_connections.Increment(change); }

void Metrics::DiscoveryEvent(std::string_view type) {
  impl_->discovery_events.Add({{"type", std::string(type)}}).Increment();
}

void Metrics::Repair(std::string_view reason, std::uint64_t entries) {
  impl_->repairs.Add({{"reason", std::string(reason)}}).Increment();
  impl_->repaired_entries.Increment(static_cast<double>(entries));
}

void Metrics::TlsRefused(std::string_view where) {
  impl_->tls_refused.Add({{"where", std::string(where)}}).Increment();
}

void Metrics::TurnedAway() { impl_->turned_away.Increment(); }

void Metrics::TlsReload(bool taken) {
  impl_->tls_reloads.Add({{"result", taken ? "taken" : "refused"}}).Increment();
}

void Metrics::PeerEvent(std::string_view type) {
  impl_->peer_events.Add({{"type", std::string(type)}}).Increment();
}

void Metrics::DeadDropped(std::uint64_t entries) {
  impl_->dead_dropped.Increment(static_cast<double>(entries));
}

void Metrics::LegacyValueSkipped(std::uint64_t count) {
  impl_->legacy_skipped.Increment(static_cast<double>(count));
}

std::string Metrics::Render() const {
  std::vector<MetricFamily> families =
      impl_->snapshot ? Families(impl_->snapshot()) : std::vector<MetricFamily>{};
  for (MetricFamily& family : impl_->registry.Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace podmirror::telemetry
