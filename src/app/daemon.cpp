#include "app/daemon.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "app/observer.h"
#include "rpc/cache_service.h"
#include "rpc/sync_service.h"
#include "rpc/tls.h"

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

std::vector<rest::HttpPort> RestPortsOf(const settings::Settings& s) {
  using enum rest::PortKind;
  std::vector<rest::HttpPort> ports;
  const auto add = [&ports](const auto& listen, rest::PortKind kind, const char* name) {
    if (listen) ports.push_back({listen->ToString(), kind, name});
  };
  add(s.rest_listen, kPlain, "rest-listen");
  add(s.rest_tls_listen, kTls, "rest-tls-listen");
  add(s.health_listen, kHealth, "health-listen");
  return ports;
}

watch::FeedsOptions FeedsOptionsOf(const settings::Settings& s, std::uint64_t incarnation) {
  // What is encoded may be several times as large as a value.
  constexpr std::size_t kMinBudgetBytes = 64 * 1024 * 1024;
  return {.incarnation = incarnation,
          .max_watchers = static_cast<int>(s.max_watchers),
          .budget_bytes = std::max<std::size_t>(kMinBudgetBytes, 2 * s.max_value_bytes)};
}

rpc::PeerTls PeerTlsOf(const settings::Settings& s, const trust::Keyring* keyring) {
  using enum rpc::PeerTls::Mode;
  return {.mode = s.peer_tls == "require"  ? kRequire
                  : s.peer_tls == "prefer" ? kPrefer
                                           : kOff,
          .keyring = keyring,
          .plain_port = static_cast<std::uint16_t>(s.peer_port),
          .tls_port = static_cast<std::uint16_t>(s.peer_tls_port)};
}

rest::RestOptions RestOptionsOf(const settings::Settings& s) {
  rest::RestOptions options;
  options.ports = RestPortsOf(s);
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
  Parts parts;
  parts.metrics = std::make_unique<telemetry::Metrics>();
  parts.reloader =
      std::make_unique<Reloader>(absl::Milliseconds(settings.tls_reload_interval.count()));
  auto trusted = TrustParts::New(settings, log, *parts.metrics, env,
                                 [reloader = parts.reloader.get()] { reloader->Poke(); });
  if (!trusted.ok()) return trusted.status();
  parts.trust = std::move(*trusted);
  parts.queue = std::make_unique<net::GrpcQueue>();
  auto source = NewSource(settings, *parts.queue, *parts.metrics, env);
  if (!source.ok()) return source.status();
  parts.source = std::move(*source);
  return std::unique_ptr<Daemon>(new Daemon(settings, std::move(parts), log, env));
}

Daemon::Daemon(const settings::Settings& settings, Parts parts, Log& log, Env& env)
    : settings_(settings),
      log_(log),
      metrics_(std::move(parts.metrics)),
      reloader_(std::move(parts.reloader)),
      trust_(std::move(parts.trust)),
      refusals_(log, env),
      changes_(settings.change_log_bytes),
      cache_(&changes_),
      queue_(std::move(parts.queue)),
      access_(trust_->guard(), trust_->audit()),
      callers_(trust_->keyring(), env),
      transport_(*queue_, bulk_, *metrics_, env, callers_, PeerTlsOf(settings, trust_->keyring()),
                 [this](const std::string& ip, const std::string& reason) {
                   metrics_->TlsRefused("peer");
                   refusals_.PeerRefused(ip, reason);
                 }),
      driver_(NodeOptionsOf(settings, env), cache_, env, transport_, NewObserver(log, *metrics_)),
      feeds_(cache_, changes_, FeedsOptionsOf(settings, driver_.incarnation())),
      feed_(std::move(parts.source), driver_, log, env),
      cache_service_(rpc::NewCacheService(RequestOptionsOf(settings), driver_, cache_, env, bulk_,
                                          scan_, access_)),
      sync_service_(rpc::NewSyncService(RequestOptionsOf(settings), driver_, cache_, env, *metrics_,
                                        bulk_, access_)),
      watch_service_(driver_, changes_, feeds_, env, access_, callers_),
      follow_service_(driver_, cache_, bulk_, access_),
      rest_(RestOptionsOf(settings),
            {cache_, changes_, feeds_, driver_, *metrics_, env, [this] { return ViewDiscovery(); },
             [this] { return watchdog_.stalled() ? std::string(kStalled) : std::string(); },
             trust_->keyring(), access_, scan_}),
      watchdog_([&log] { log.Event(LogLevel::kError, "stalled", kStalled); }) {
  transport_.Bind(driver_);
  driver_.set_on_unknown_peer([this] { feed_.Refresh(); });
  metrics_->SetSnapshotSource([this] { return TakeSnapshot(); });
}

Daemon::~Daemon() = default;

Status Daemon::StartRpc() {
  std::vector<rpc::RpcPort> ports;
  if (const auto& listen = settings_.grpc_listen) ports.push_back({.listen = listen->ToString()});
  if (const auto& listen = settings_.grpc_tls_listen) {
    ports.push_back({.listen = listen->ToString(),
                     .credentials = rpc::NewServerCredentials(*trust_->keyring()),
                     .name = "grpc-tls-listen"});
  }
  auto rpc = rpc::RpcServer::Start(
      ports, *queue_, bulk_, access_, callers_, [this] { metrics_->TurnedAway(); },
      {&transport_, cache_service_.get(), sync_service_.get(), &watch_service_, &follow_service_});
  if (!rpc.ok()) return rpc.status();
  rpc_ = std::move(*rpc);
  return {};
}

Status Daemon::Start() {
  if (trust_->watches()) {
    reloader_->Start([this] {
      if (!trust_->Look()) return;
      transport_.CheckPeers();
      driver_.CredentialsChanged();
    });
  }
  if (Status status = StartRpc(); !status.ok()) return status;
  if (Status status = rest_.Start(); !status.ok()) return status;
  std::vector<LogField> fields = {{"version", std::string(settings::Version())},
                                  {"cluster", settings_.cluster},
                                  {"name", settings_.pod.name},
                                  {"namespace", settings_.pod.ns},
                                  {"uid", settings_.pod.uid}};
  const auto tell = [&fields](const char* name, const settings::Settings::Listen& listen,
                              std::uint16_t port) {
    if (listen) fields.emplace_back(name, settings::HostPort{listen->host, port}.ToString());
  };
  tell("rest", settings_.rest_listen, rest_.port(rest::PortKind::kPlain));
  tell("rest_tls", settings_.rest_tls_listen, rest_.port(rest::PortKind::kTls));
  tell("health", settings_.health_listen, rest_.port(rest::PortKind::kHealth));
  tell("grpc", settings_.grpc_listen, rpc_->port(0));
  if (settings_.grpc_tls_listen) {
    tell("grpc_tls", settings_.grpc_tls_listen, rpc_->port(settings_.grpc_listen ? 1 : 0));
  }
  fields.emplace_back("discovery", settings_.discovery);
  log_.Event(LogLevel::kInfo, "started", "listening, looking for peers", fields);
  if (settings_.auth_required && (settings_.rest_listen || settings_.grpc_listen)) {
    log_.Event(LogLevel::kWarn, "tokens_in_the_clear",
               "a port without TLS is open: whoever is on the way can read tokens",
               {{"setting", settings_.rest_listen ? "rest-listen" : "grpc-listen"}});
  }
  ticker_ = std::thread([this] { RunTicker(); });
  watchdog_.Start();
  feed_.Start();
  return {};
}

void Daemon::Reload() { reloader_->Poke(); }

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
  trust_->Cancel();
  reloader_->Stop();
  if (ticker_.joinable()) feed_.Stop();
  driver_.EndWaits();
  watch_service_.End();
  cache_service_->End();
  rest_.Stop(limit_ms / 2);
  bool ended = transport_.Stop(grace);
  const bool answered = !rpc_ || rpc_->Stop(grace);
  // The server has cut off the calls that still ran, and their streams ended with them: look again.
  ended = (ended || transport_.Stop(grace)) && answered;
  if (ended) {
    scan_.Stop();
    bulk_.Stop();
    watch_service_.Stop();
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
    watch_service_.Tick();
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
  snapshot.watchers = static_cast<std::uint64_t>(feeds_.watchers());
  snapshot.expired = status.expired;
  snapshot.ready = status.ready;
  snapshot.bootstrap_seconds = static_cast<double>(status.bootstrap.ms) / kMsPerSecond;
  snapshot.discovery_healthy = discovery.healthy;
  snapshot.discovery_self_listed = discovery.self_listed;
  snapshot.discovery_age_seconds = static_cast<double>(discovery.age_ms) / kMsPerSecond;
  snapshot.log_dropped = log_.dropped();
  snapshot.unauthorized = trust_->audit().unauthorized();
  snapshot.forbidden = trust_->audit().forbidden();
  if (const trust::Keyring* keyring = trust_->keyring()) {
    snapshot.tls_expiry_seconds =
        static_cast<double>(keyring->current()->own().not_after()) / kMsPerSecond;
  }
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
