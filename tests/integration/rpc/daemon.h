// A daemon without discovery and REST: cache, driver, streams and gRPC port, on loopback with a
// port of the kernel's. A thread of its own ticks the driver.
// Thread safety: one test thread; PeersAre and Write from any.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "cache/cache.h"
#include "integration/eventually.h"
#include "net/bulk_thread.h"
#include "net/grpc_queue.h"
#include "rpc/cache_service.h"
#include "rpc/follow_service.h"
#include "rpc/peer_transport.h"
#include "rpc/rpc_server.h"
#include "rpc/sync_service.h"
#include "rpc/watch_service.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

struct DaemonOptions {
  std::string name = {};
  std::string cluster = "test/podmirror";
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  RequestOptions requests = {};
  std::uint64_t max_memory = 0;
  int max_watchers = 4096;
  // Who may do what; null: everybody everything.
  const trust::Guard* guard = nullptr;
  // With it, its port speaks TLS, and peers must.
  const trust::Keyring* keyring = nullptr;
};

class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options)
      : options_(options),
        driver_(NodeOptionsOf(options), cache_, Env::Real(), transport_,
                [this](const sync::Event& event) {
                  if (event.kind == sync::EventKind::kPeerLost) ++peers_lost_;
                }),
        feeds_(cache_, changes_,
               {.incarnation = driver_.incarnation(), .max_watchers = options.max_watchers}) {
    transport_.Bind(driver_);
    cache_service_ =
        NewCacheService(options.requests, driver_, cache_, Env::Real(), bulk_, scan_, access_);
    watch_service_ =
        std::make_unique<WatchService>(driver_, changes_, feeds_, Env::Real(), access_, callers_);
    follow_service_ = std::make_unique<FollowService>(driver_, cache_, bulk_, access_);
    sync_service_ =
        NewSyncService(options.requests, driver_, cache_, Env::Real(), metrics_, bulk_, access_);
    RpcPort port{.listen = Address(options)};
    if (options.keyring != nullptr) port.credentials = NewServerCredentials(*options.keyring);
    auto server =
        RpcServer::Start({port}, queue_, bulk_, access_, callers_, [this] { ++turned_away_; },
                         {&transport_, cache_service_.get(), sync_service_.get(),
                          watch_service_.get(), follow_service_.get()});
    if (!server.ok()) throw std::runtime_error(server.status().ToString());
    server_ = std::move(*server);
    ticker_ = std::thread([this] {
      while (!stopping_) {
        driver_.Tick();
        watch_service_->Tick();
        std::this_thread::sleep_for(std::chrono::milliseconds(sync::Driver::kTickMs));
      }
    });
  }

  ~Daemon() { Stop(); }

  // In the order that peer_transport.h tells. Returns false when streams were left.
  bool Stop() {
    if (!ticker_.joinable()) return true;
    watch_service_->End();
    cache_service_->End();
    bool ended = transport_.Stop(absl::Seconds(10));
    ended = server_->Stop(absl::Milliseconds(100)) && ended;
    if (ended) {
      scan_.Stop();
      bulk_.Stop();
      watch_service_->Stop();
      queue_.Stop();
    }
    stopping_ = true;
    ticker_.join();
    return ended;
  }

  std::uint16_t port() const { return server_->port(); }
  std::string address() const {
    return (options_.host == "::1" ? "[::1]" : "127.0.0.1") + (":" + std::to_string(port()));
  }
  PodRecord record() const {
    PodRecord record;
    record.uid = "uid-" + options_.name;
    record.name = options_.name;
    record.ip = options_.host;
    record.port = port();
    record.phase = "Running";
    return record;
  }

  void SetPeers(std::vector<PodRecord> peers) {
    PeerSet set;
    set.peers = std::move(peers);
    set.self_listed = true;
    driver_.SetPeers(set);
  }

  // Puts and waits for the outcome; none when it was refused.
  std::optional<sync::WriteOutcome> Put(const std::string& key, const std::string& value,
                                        sync::WriteOptions options = {}) {
    const sync::WriteItem item{1, key, value, false, 0};
    auto outcome = std::make_shared<std::promise<sync::WriteOutcome>>();
    std::future<sync::WriteOutcome> future = outcome->get_future();
    const auto refusal = driver_.Write(
        {&item, 1}, options, [outcome](const sync::WriteOutcome& o) { outcome->set_value(o); });
    if (refusal != sync::WriteRefusal::kNone) return std::nullopt;
    return future.get();
  }

  std::optional<std::string> Value(const std::string& key, std::int32_t type = 1) const {
    const EntryRef entry = cache_.Find(type, key, Env::Real().now().wall);
    if (!entry) return std::nullopt;
    return std::string(entry->value());
  }

  // The state of the only peer ("streaming", ...), or "" when there is none.
  std::string PeerState() const {
    const auto peers = driver_.Peers();
    return peers.empty() ? "" : std::string(ToString(peers[0].state));
  }
  std::string PeerError() const {
    const auto peers = driver_.Peers();
    return peers.empty() ? "" : peers[0].error;
  }

  // So many streams ended.
  int peers_lost() const { return peers_lost_; }
  // Of daemons that would be peers and are none: connections refused, and not even let in.
  int refused() const { return refused_; }
  int turned_away() const { return turned_away_; }

  bool ready() const { return driver_.ready(); }
  Cache& cache() { return cache_; }
  watch::Feeds& feeds() { return feeds_; }
  sync::Driver& driver() { return driver_; }
  RpcServer& server() { return *server_; }
  PeerTransport& transport() { return transport_; }
  telemetry::Metrics& metrics() { return metrics_; }
  // Looks for what is below a prefix.
  net::BulkThread& scan() { return scan_; }

 private:
  static std::string Address(const DaemonOptions& options) {
    const bool v6 = options.host.find(':') != std::string::npos;
    return (v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(options.port);
  }
  static sync::NodeOptions NodeOptionsOf(const DaemonOptions& options) {
    sync::NodeOptions node;
    node.self = {options.name, "test", "uid-" + options.name, options.host};
    node.cluster = options.cluster;
    node.process_started_ms = Env::Real().now().wall;
    node.repair_interval_ms = 500;
    node.bootstrap_timeout_ms = 2000;
    node.max_memory = options.max_memory;
    return node;
  }

  static PeerTls TlsOf(const DaemonOptions& options) {
    if (options.keyring == nullptr) return {};
    return {.mode = PeerTls::Mode::kRequire, .keyring = options.keyring};
  }

  const DaemonOptions options_;
  std::atomic<int> peers_lost_{0};
  std::atomic<int> refused_{0};
  std::atomic<int> turned_away_{0};
  telemetry::Metrics metrics_;
  ChangeLog changes_{64 * 1024 * 1024};  // of more than any test changes: nobody is reset
  Cache cache_{&changes_};
  net::GrpcQueue queue_;
  net::BulkThread bulk_{"bulk"};
  net::BulkThread scan_{"scan"};
  const trust::Guard open_{Env::Real()};
  const trust::Audit audit_{trust::Audit::Level::kOff, nullptr};
  const trust::Access access_{options_.guard != nullptr ? *options_.guard : open_, audit_};
  Callers callers_{options_.keyring, Env::Real()};
  PeerTransport transport_{queue_,
                           bulk_,
                           metrics_,
                           Env::Real(),
                           callers_,
                           TlsOf(options_),
                           [this](const std::string&, const std::string&) { ++refused_; }};
  sync::Driver driver_;
  watch::Feeds feeds_;
  std::unique_ptr<Service> cache_service_;
  std::unique_ptr<Service> follow_service_;
  std::unique_ptr<Service> sync_service_;
  std::unique_ptr<WatchService> watch_service_;
  std::unique_ptr<RpcServer> server_;
  std::atomic<bool> stopping_{false};
  std::thread ticker_;
};

// Tells all daemons of each other and waits until they stream and are ready.
inline bool Connect(const std::vector<Daemon*>& daemons) {
  for (Daemon* daemon : daemons) {
    std::vector<PodRecord> others;
    for (Daemon* other : daemons) {
      if (other != daemon) others.push_back(other->record());
    }
    std::sort(others.begin(), others.end(), OlderThan);
    daemon->SetPeers(std::move(others));
  }
  return Eventually([&] {
    for (Daemon* daemon : daemons) {
      if (!daemon->ready()) return false;
      for (const sync::PeerStatus& peer : daemon->driver().Peers()) {
        if (peer.state != sync::LinkState::kStreaming) return false;
      }
    }
    return true;
  });
}

}  // namespace podmirror::rpc
