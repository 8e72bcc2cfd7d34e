#include "app/discovery_feed.h"

#include <chrono>
#include <utility>

namespace podmirror::app {
namespace {

constexpr std::chrono::seconds kResolveInterval(5);

}  // namespace

Result<std::unique_ptr<discovery::PeerSource>> NewSource(const settings::Settings& settings,
                                                         net::GrpcQueue& queue,
                                                         telemetry::Metrics& metrics, Env& env) {
  if (settings.discovery == "none") return discovery::NewNoneSource(env);
  if (settings.discovery == "static") {
    return discovery::NewStaticSource(
        settings.peers, settings.pod,
        (settings.grpc_listen ? settings.grpc_listen : settings.grpc_tls_listen)->port,
        kResolveInterval, metrics, env);
  }
  discovery::PodFilter filter;
  filter.self = settings.pod;
  filter.ns = settings.ns;
  filter.service = settings.service;
  filter.selector = settings.selector;
  filter.container = settings.container;
  filter.peer_port = static_cast<std::uint16_t>(settings.peer_port);
  if (settings.discovery == "kube-api") {
    return discovery::NewKubeApiSource({.url = settings.kube_api_url,
                                        .token_file = settings.kube_token_file,
                                        .ca_file = settings.kube_ca},
                                       std::move(filter), metrics, env);
  }
  discovery::EtcdOptions etcd;
  etcd.endpoints = settings.etcd_endpoints;
  etcd.prefix = settings.etcd_prefix;
  etcd.ca_file = settings.etcd_ca;
  etcd.cert_file = settings.etcd_cert;
  etcd.key_file = settings.etcd_key;
  etcd.user = settings.etcd_user;
  etcd.password_file = settings.etcd_password_file;
  etcd.queue = &queue;
  if (settings.discovery == "registry") {
    discovery::RegistryOptions registry;
    registry.self = settings.pod;
    registry.port = static_cast<std::uint16_t>(settings.peer_port);
    registry.schema = settings.registry_schema;
    registry.service = settings.service;
    registry.ttl = settings.registry_ttl;
    return discovery::NewRegistrySource(std::move(etcd), registry, metrics, env);
  }
  return settings.discovery == "etcd-v2"
             ? discovery::NewEtcdV2Source(std::move(etcd), std::move(filter), metrics, env)
             : discovery::NewEtcdV3Source(std::move(etcd), std::move(filter), metrics, env);
}

DiscoveryFeed::DiscoveryFeed(std::unique_ptr<discovery::PeerSource> source, sync::Driver& driver,
                             Log& log, Env& env)
    : driver_(driver),
      log_(log),
      env_(env),
      source_(std::move(source)),
      answered_at_(env.now().steady) {
  state_.error = "no answer yet";
}

void DiscoveryFeed::Start() {
  source_->Start(
      {.peers = [this](const PeerSet& set, std::int64_t revision) { OnPeers(set, revision); },
       .failed = [this](const std::string& error) { OnFailed(error); },
       .unreadable = [this](const std::string& where,
                            const std::string& reason) { OnUnreadable(where, reason); }});
}

void DiscoveryFeed::Stop() { source_->Stop(); }

void DiscoveryFeed::Refresh() { source_->Refresh(); }

void DiscoveryFeed::SetReady(bool ready) { source_->SetReady(ready); }

DiscoveryFeed::State DiscoveryFeed::state() const {
  absl::MutexLock lock(&mu_);
  State state = state_;
  state.age_ms = env_.now().steady - answered_at_;
  return state;
}

void DiscoveryFeed::OnPeers(const PeerSet& set, std::int64_t revision) {
  if (set.self_listed) {
    Listed(set, revision);
  } else {
    Unlisted(set);
  }
  driver_.SetPeers(set);
}

void DiscoveryFeed::Listed(const PeerSet& set, std::int64_t revision) {
  bool recovered = false;
  {
    absl::MutexLock lock(&mu_);
    recovered = !state_.healthy;
    state_.healthy = true;
    state_.self_listed = true;
    state_.peers = set.peers.size();
    state_.revision = revision;
    state_.error.clear();
    answered_at_ = env_.now().steady;
  }
  if (recovered) {
    log_.Event(LogLevel::kInfo, "discovery_ok", "the source answers",
               {{"where", set.where},
                {"peers", static_cast<std::uint64_t>(set.peers.size())},
                {"self_listed", true}});
  }
}

// This pod's record was deleted, or has lost the label or the name that makes the pod one of ours.
// The other pods drop us then. The core keeps the last set that listed us, since a pod that looks
// in the wrong place must not take the pods that it finds there for all pods. So `state_` keeps the
// peers and the revision of that last set, too, and their age grows.
void DiscoveryFeed::Unlisted(const PeerSet& set) {
  const std::string error = "own pod not found under " + set.where;
  {
    absl::MutexLock lock(&mu_);
    state_.healthy = false;
    state_.self_listed = false;
    if (state_.error == error) return;
    state_.error = error;
  }
  log_.Event(LogLevel::kWarn, "self_unlisted", "this pod is not among those that discovery finds",
             {{"where", set.where}, {"peers", static_cast<std::uint64_t>(set.peers.size())}});
}

void DiscoveryFeed::OnFailed(const std::string& error) {
  {
    absl::MutexLock lock(&mu_);
    state_.healthy = false;
    state_.error = error;
  }
  log_.Event(LogLevel::kWarn, "discovery_error", "the source cannot be read", {{"error", error}});
  driver_.DiscoveryFailed(error);
}

void DiscoveryFeed::OnUnreadable(const std::string& where, const std::string& reason) {
  log_.Event(LogLevel::kWarn, "record_unreadable", "a pod record cannot be read",
             {{"key", where}, {"error", reason}});
}

}  // namespace podmirror::app
