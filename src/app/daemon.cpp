#include "app/daemon.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "app/observer.h"
#include "rpc/cache_service.h"
#include "rpc/sync_service.h"

namespace podmirror::app {
namespace {

constexpr unsigned kMaxRestWorkers = 8;

constexpr char kStalled[] = "the daemon's core has stood still for 5 s";

sync::NodeOptions NodeOptionsOf(const settings::Settings& s, Env& env) {
  sync::NodeOptions options;
  options.self = s.pod;
  options.cluster = s.cluster;
  options.process_started_ms = env.now().wall;
  options.backlog_bytes = s.backlog_bytes;
  options.tombstone_ttl_ms = s.tombstone_ttl.count();
  options.repair_interval_ms = s.repair_interval.count();
  options.bootstrap_timeout_ms = s.bootstrap_timeout.count();
  options.bootstrap_alone = s.bootstrap_alone;
  options.max_memory = s.max_memory;
  return options;
}

sync::AckLevel AckLevelOf(const settings::Settings& s) {
  using enum sync::AckLevel;
  for (const sync::AckLevel level : {kLocal, kOne, kMajority}) {
    if (sync::ToString(level) == s.ack) return level;
  }
  return kAll;
}

rpc::RequestOptions RequestOptionsOf(const settings::Settings& s) {
  return {.items = {s.max_key_bytes, s.max_value_bytes},
          .max_batch_bytes = s.max_batch_bytes,
          .write = {.ack = AckLevelOf(s), .timeout_ms = s.ack_timeout.count()}};
}

rest::RestOptions RestOptionsOf(const settings::Settings& s) {
  rest::RestOptions options;
  options.listen = s.rest_listen.ToString();
  options.items = {s.max_key_bytes, s.max_value_bytes};
  options.max_batch_bytes = s.max_batch_bytes;
  options.max_connections = static_cast<int>(s.max_connections);
  options.request_timeout_ms = s.request_timeout.count();
  options.workers =
      static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 2u, kMaxRestWorkers));
  options.ack = AckLevelOf(s);
  options.ack_timeout_ms = s.ack_timeout.count();
  options.name = s.pod.name;
  options.ns = s.pod.ns;
  options.uid = s.pod.uid;
  options.cluster = s.cluster;
  options.version = settings::Version();
  return options;
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::New(const settings::Settings& settings, Log& log,
                                            Env& env) {
  auto metrics = std::make_unique<telemetry::Metrics>();
  auto queue = std::make_unique<net::GrpcQueue>();
  auto source = NewSource(settings, *queue, *metrics, env);
  if (!source.ok()) return source.status();
  return std::unique_ptr<Daemon>(
      new Daemon(settings, std::move(metrics), std::move(queue), std::move(*source), log, env));
}

Daemon::Daemon(const settings::Settings& settings, std::unique_ptr<telemetry::Metrics> metrics,
               std::unique_ptr<net::GrpcQueue> queue, std::unique_ptr<discovery::PeerSource> source,
               Log& log, Env& env)
    : settings_(settings),
      log_(log),
      metrics_(std::move(metrics)),
      queue_(std::move(queue)),
      transport_(*queue_, bulk_, *metrics_),
      driver_(NodeOptionsOf(settings, env), cache_, env, transport_, NewObserver(log, *metrics_)),
      feed_(std::move(source), driver_, log, env),
      cache_service_(rpc::NewCacheService(RequestOptionsOf(settings), driver_, cache_, env, bulk_)),
      sync_service_(
          rpc::NewSyncService(RequestOptionsOf(settings), driver_, cache_, env, *metrics_, bulk_)),
      rest_(RestOptionsOf(settings),
            {cache_, driver_, *metrics_, env, [this] { return ViewDiscovery(); },
             [this] { return watchdog_.stalled() ? std::string(kStalled) : std::string(); }}),
      watchdog_([&log] { log.Event(LogLevel::kError, "stalled", kStalled); }) {
  transport_.Bind(driver_);
  driver_.set_on_unknown_peer([this] { feed_.Refresh(); });
  metrics_->SetSnapshotSource([this] { return TakeSnapshot(); });
}

Daemon::~Daemon() = default;

Status Daemon::Start() {
  auto rpc = rpc::RpcServer::Start(settings_.grpc_listen.host, settings_.grpc_listen.port, *queue_,
                                   bulk_, {&transport_, cache_service_.get(), sync_service_.get()});
  if (!rpc.ok()) return {rpc.status().code(), "grpc-listen: " + rpc.status().message()};
  rpc_ = std::move(*rpc);
  if (Status status = rest_.Start(); !status.ok()) {
    return {status.code(), "rest-listen: " + status.message()};
  }
  log_.Event(LogLevel::kInfo, "started", "listening, looking for peers",
             {{"version", std::string(settings::Version())},
              {"cluster", settings_.cluster},
              {"name", settings_.pod.name},
              {"namespace", settings_.pod.ns},
              {"uid", settings_.pod.uid},
              {"rest", settings::HostPort{settings_.rest_listen.host, rest_.port()}.ToString()},
              {"grpc", settings::HostPort{settings_.grpc_listen.host, rpc_->port()}.ToString()},
              {"discovery", settings_.discovery}});
  ticker_ = std::thread([this] { RunTicker(); });
  watchdog_.Start();
  feed_.Start();
  return {};
}

void Daemon::Leave() {
  driver_.Leave();
  rest_.Leave();
  rpc_->Leave();
}

void Daemon::BeginDrain() { driver_.BeginDrain(); }

bool Daemon::drained() const { return driver_.drained(); }

bool Daemon::Stop(std::int64_t limit_ms) {
  // Requests in flight get half of the time, each other step an eighth. Discovery needs some of it
  // when its source has to tell the other pods that we leave.
  const absl::Duration grace = absl::Milliseconds(limit_ms) / 8;
  if (ticker_.joinable()) feed_.Stop();
  driver_.EndWaits();
  rest_.Stop(limit_ms / 2);
  bool ended = transport_.Stop(grace);
  const bool answered = !rpc_ || rpc_->Stop(grace);
  // The server has cut off the calls that still ran, and their streams ended with them: look again.
  ended = (ended || transport_.Stop(grace)) && answered;
  if (ended) {
    bulk_.Stop();
    queue_->Stop();
  }
  watchdog_.Stop();
  stop_ticker_.Notify();
  if (ticker_.joinable()) ticker_.join();
  return ended;
}

void Daemon::RunTicker() {
  pthread_setname_np(pthread_self(), "ticker");  // for debuggers, and a test that stops it
  bool serving = false;
  do {
    driver_.Tick();
    watchdog_.Beat();
    if (driver_.ready() != serving) {
      serving = !serving;
      rpc_->SetServing(serving);
      feed_.SetReady(serving);
    }
  } while (!stop_ticker_.WaitForNotificationWithTimeout(
      absl::Milliseconds(serving ? sync::Driver::kReadyTickMs : sync::Driver::kTickMs)));
}

telemetry::Snapshot Daemon::TakeSnapshot() const {
  constexpr double kMsPerSecond = 1000;
  const CacheStats stats = cache_.Stats();
  const sync::NodeStatus status = driver_.Status();
  const DiscoveryFeed::State discovery = feed_.state();
  telemetry::Snapshot snapshot;
  snapshot.entries = stats.entries;
  snapshot.tombstones = stats.tombstones;
  snapshot.bytes = stats.bytes;
  snapshot.memory_bytes = stats.memory;
  snapshot.expired = status.expired;
  snapshot.ready = status.ready;
  snapshot.bootstrap_seconds = static_cast<double>(status.bootstrap.ms) / kMsPerSecond;
  snapshot.discovery_healthy = discovery.healthy;
  snapshot.discovery_self_listed = discovery.self_listed;
  snapshot.discovery_age_seconds = static_cast<double>(discovery.age_ms) / kMsPerSecond;
  snapshot.log_dropped = log_.dropped();
  for (const sync::PeerStatus& peer : driver_.Peers()) {
    snapshot.peers.push_back({peer.record.name, std::string(sync::ToString(peer.state)),
                              peer.behind_bytes, static_cast<double>(peer.lag_ms) / kMsPerSecond,
                              static_cast<double>(peer.clock_ahead_ms) / kMsPerSecond});
  }
  return snapshot;
}

rest::DiscoveryView Daemon::ViewDiscovery() const {
  const DiscoveryFeed::State state = feed_.state();
  return {.source = settings_.discovery,
          .healthy = state.healthy,
          .peers = state.peers,
          .revision = state.revision,
          .age_ms = state.age_ms,
          .error = state.error};
}

}  // namespace podmirror::app
