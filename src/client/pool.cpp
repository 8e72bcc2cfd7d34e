#include "client/pool.h"

#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "net/address.h"
#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

// The time before a probe, by the number of failures before it.
constexpr std::array<SteadyMs, 5> kBackoffMs = {0, 100, 200, 400, 500};
constexpr SteadyMs kNever = INT64_MAX;
constexpr SteadyMs kLongestWaitMs = 60'000;
constexpr std::size_t kNamedInError = 3;

}  // namespace

struct Pool::Endpoint {
  Endpoint(std::string key_of, const PodRecord& record, std::string target_of)
      : key(std::move(key_of)),
        name(record.name),
        address(net::HostPort{.host = record.ip, .port = record.port}.ToString()),
        target(std::move(target_of)) {}

  const std::string key;
  const std::string name;
  const std::string address;
  const std::string target;

  // Guarded by the pool's mutex.
  std::shared_ptr<Connection> connection;  // never nullptr in a set
  bool connection_dead = false;            // as far as a probe can tell
  DaemonState state = DaemonState::kConnecting;
  std::string error;
  std::size_t failures = 0;      // since a call went well
  SteadyMs probe_at = 0;         // kNever while none is planned
  std::shared_ptr<Probe> probe;  // under way: each of the two holds the other
  std::uint64_t calls = 0;
};

struct Pool::Probe {
  std::shared_ptr<Endpoint> endpoint;
  std::shared_ptr<Connection> connection;
  bool connection_dead = false;
  grpc::ClientContext context;
  v1::GetRequest request;  // of no keys
  v1::GetResponse response;
};

std::string Pool::NameOf(const Choice& choice) { return choice.endpoint->name; }

Pool::Pool(Env& env, int max_daemons, std::shared_ptr<Credentials> credentials)
    : env_(env),
      max_daemons_(static_cast<std::size_t>(max_daemons)),
      credentials_(std::move(credentials)),
      prober_([this] { Run(); }) {}

Pool::~Pool() { Stop(); }

void Pool::Stop() {
  Endpoints dropped;
  Probes running;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    dropped.swap(endpoints_);
    for (const auto& endpoint : dropped) {
      if (endpoint->probe) running.push_back(endpoint->probe);
    }
    changed_.SignalAll();
  }
  for (const auto& probe : running) probe->context.TryCancel();
  if (prober_.joinable()) prober_.join();
  Probes ended;
  absl::MutexLock lock(&mu_);
  while (probes_ > 0) changed_.Wait(&mu_);
  ended.swap(ended_);
}

void Pool::SetDaemons(const PeerSet& set) {
  if (set.peers.empty()) {
    SetDiscoveryError("none is listed" + (set.where.empty() ? "" : " under " + set.where));
    return;
  }
  std::vector<std::pair<std::string, const PodRecord*>> wanted;
  std::map<std::string, std::shared_ptr<Endpoint>> known;
  for (const PodRecord& peer : set.peers) {
    if (wanted.size() == max_daemons_) break;
    // A daemon that came back at another address is a new one; so is another daemon at an address
    // that we know.
    wanted.emplace_back(peer.id() + "@" + peer.ip + ":" + std::to_string(peer.port), &peer);
  }
  {
    absl::MutexLock lock(&mu_);
    for (const auto& endpoint : endpoints_) known.emplace(endpoint->key, endpoint);
  }
  Endpoints endpoints;
  std::string error;
  for (const auto& [key, peer] : wanted) {
    if (const auto at = known.find(key); at != known.end()) {
      endpoints.push_back(at->second);
      known.erase(at);
    } else if (Result<std::string> target = net::GrpcTargetOf(*peer); target.ok()) {
      auto endpoint = std::make_shared<Endpoint>(key, *peer, std::move(*target));
      endpoint->connection =
          Connect(*endpoint, credentials_->Get(Credentials::kForConnectionMs)->tls);
      endpoints.push_back(std::move(endpoint));
    } else {
      error = peer->name + ": " + target.status().message();
    }
  }
  Probes ended;
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return;
    endpoints_.swap(endpoints);
    discovery_error_ = error;
    for (const auto& [key, endpoint] : known) {
      if (endpoint->probe) ended.push_back(endpoint->probe);
    }
    changed_.SignalAll();
  }
  for (const auto& probe : ended) probe->context.TryCancel();
}

void Pool::SetDiscoveryError(const std::string& error) {
  absl::MutexLock lock(&mu_);
  discovery_error_ = error;
}

Result<Pool::Choice> Pool::Choose(const Wish& wish) {
  Choice choice;
  absl::MutexLock lock(&mu_);
  while (true) {
    const SteadyMs left = wish.until - env_.now().steady;
    if (stopping_) return Status(Code::kUnavailable, "the client ends");
    if (left <= 0 || (!wish.tried.empty() && !AnyUntried(wish))) return WhyNone();
    if (TryChoose(wish, choice)) break;
    changed_.WaitWithTimeout(&mu_, absl::Milliseconds(left));
  }
  ++choice.endpoint->calls;
  return choice;
}

bool Pool::TryChoose(const Wish& wish, Choice& choice) {
  const std::size_t count = endpoints_.size();
  for (const DaemonState wanted : {DaemonState::kReady, DaemonState::kDraining}) {
    if (wanted == DaemonState::kDraining && !wish.read) break;
    const std::size_t first = wish.spread ? env_.Random() % std::max<std::size_t>(count, 1) : next_;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = (first + i) % count;
      const auto& endpoint = endpoints_[at];
      if (!Usable(*endpoint, wanted)) continue;
      if (std::find(wish.tried.begin(), wish.tried.end(), endpoint) != wish.tried.end()) continue;
      if (choice.endpoint) {
        ++choice.others;
      } else {
        choice.endpoint = endpoint;
        choice.connection = endpoint->connection;
        if (!wish.spread) next_ = (at + 1) % count;
      }
      if (choice.others >= wish.count_others) return true;
    }
    if (choice.endpoint) return true;
  }
  return false;
}

bool Pool::AnyUntried(const Wish& wish) const {
  return std::any_of(endpoints_.begin(), endpoints_.end(), [&](const auto& endpoint) {
    return std::find(wish.tried.begin(), wish.tried.end(), endpoint) == wish.tried.end();
  });
}

// Whether the daemon is in the state `wanted` and connected. A lost connection is noticed here.
bool Pool::Usable(Endpoint& endpoint, DaemonState wanted) {
  const DaemonState state = endpoint.state;
  if (state != DaemonState::kReady && state != DaemonState::kDraining) return false;
  if (endpoint.connection->channel->GetState(false) != GRPC_CHANNEL_READY) {
    SetState(endpoint, DaemonState::kConnecting, "");
    PlanProbe(endpoint);
    return false;
  }
  return state == wanted;
}

void Pool::SetState(Endpoint& endpoint, DaemonState state, const std::string& error) {
  endpoint.state = state;
  endpoint.error = error;
  if (state == DaemonState::kReady || state == DaemonState::kDraining) changed_.SignalAll();
}

void Pool::PlanProbe(Endpoint& endpoint) {
  const SteadyMs delay = kBackoffMs[std::min(endpoint.failures, kBackoffMs.size() - 1)];
  // A random part less, so that clients which lost a daemon together do not probe it together.
  const SteadyMs less = static_cast<SteadyMs>(env_.Random() % 256) * delay / 1024;
  endpoint.probe_at = env_.now().steady + delay - less;
  ++endpoint.failures;
  changed_.SignalAll();
}

void Pool::Report(const Choice& choice, const Verdict& verdict) {
  absl::MutexLock lock(&mu_);
  Endpoint& endpoint = *choice.endpoint;
  if (endpoint.connection != choice.connection) return;
  switch (verdict.outcome) {
    case Outcome::kAnswered:
    case Outcome::kElsewhere:
    case Outcome::kStranger:
      if (endpoint.state == DaemonState::kReady) endpoint.failures = 0;
      return;
    case Outcome::kDraining:
      // A probe that is planned would make it kReady again.
      endpoint.probe_at = kNever;
      SetState(endpoint, DaemonState::kDraining, verdict.status.message());
      return;
    case Outcome::kNotNow:
    case Outcome::kNotSent:
    case Outcome::kLost:
    case Outcome::kLate:
      break;
  }
  // Many calls can fail together: that is one failure.
  if (endpoint.state != DaemonState::kReady && endpoint.state != DaemonState::kDraining) return;
  const bool refused = verdict.outcome == Outcome::kNotNow;
  SetState(endpoint, refused ? DaemonState::kNotReady : DaemonState::kFailed,
           verdict.status.message());
  PlanProbe(endpoint);
}

void Pool::Run() {
  while (true) {
    Probes due;
    Probes ended;
    {
      absl::MutexLock lock(&mu_);
      while (true) {
        if (stopping_) return;
        ended.swap(ended_);
        const SteadyMs next = TakeDue(due);
        if (!due.empty() || !ended.empty()) break;
        const SteadyMs wait = std::min(next - env_.now().steady, kLongestWaitMs);
        changed_.WaitWithTimeout(&mu_, absl::Milliseconds(wait));
      }
    }
    for (const auto& probe : due) StartProbe(*probe);
  }
}

SteadyMs Pool::TakeDue(Probes& due) {
  SteadyMs next = kNever;
  const SteadyMs now = env_.now().steady;
  for (const auto& endpoint : endpoints_) {
    if (endpoint->probe) continue;
    if (endpoint->probe_at > now) {
      next = std::min(next, endpoint->probe_at);
      continue;
    }
    endpoint->probe_at = kNever;
    endpoint->probe = std::make_shared<Probe>();
    endpoint->probe->endpoint = endpoint;
    endpoint->probe->connection = endpoint->connection;
    endpoint->probe->connection_dead = std::exchange(endpoint->connection_dead, false);
    due.push_back(endpoint->probe);
    ++probes_;
  }
  return next;
}

std::shared_ptr<Pool::Connection> Pool::Connect(const Endpoint& endpoint, const TlsFiles& tls) {
  return std::make_shared<Connection>(endpoint.target, credentials_, tls);
}

void Pool::Reconnect(Probe& probe, const TlsFiles& tls) {
  const bool outdated = probe.connection->tls != tls &&
                        probe.connection->channel->GetState(false) != GRPC_CHANNEL_READY;
  if (!probe.connection_dead && !outdated) return;
  const std::shared_ptr<Connection> fresh = Connect(*probe.endpoint, tls);
  const std::shared_ptr<Connection> old = probe.connection;  // dropped when the lock is released
  absl::MutexLock lock(&mu_);
  // A call may have made one meanwhile.
  if (probe.endpoint->connection == old) probe.endpoint->connection = fresh;
  probe.connection = probe.endpoint->connection;
}

Pool::Choice Pool::Renew(const Choice& choice, const TlsFiles& tls) {
  const std::shared_ptr<Connection> fresh = Connect(*choice.endpoint, tls);
  absl::MutexLock lock(&mu_);
  Endpoint& endpoint = *choice.endpoint;
  if (endpoint.connection == choice.connection) {
    endpoint.connection = fresh;
    endpoint.connection_dead = false;
  }
  ++endpoint.calls;
  return {choice.endpoint, endpoint.connection, choice.others};
}

void Pool::StartProbe(Probe& probe) {
  const auto with = credentials_->Get(Credentials::kForConnectionMs);
  Reconnect(probe, with->tls);
  with->AddTo(probe.context);
  net::SetTimeout(probe.context, kProbeTimeoutMs);
  probe.connection->stub->async()->Get(
      &probe.context, &probe.request, &probe.response,
      [this, &probe](const grpc::Status& status) { Probed(probe, status); });
}

void Pool::Probed(Probe& probe, const grpc::Status& status) {
  const Verdict verdict = Judge(status);
  absl::MutexLock lock(&mu_);
  --probes_;
  Endpoint& endpoint = *probe.endpoint;
  ended_.push_back(std::move(endpoint.probe));
  changed_.SignalAll();
  if (stopping_) return;
  // The connection may be dead for good, as after a cut network.
  if (verdict.outcome == Outcome::kLate) endpoint.connection_dead = true;
  const bool refused_us = verdict.status.code() == Code::kRefused;
  if (verdict.outcome == Outcome::kStranger ||
      (verdict.outcome == Outcome::kAnswered && (verdict.status.ok() || refused_us))) {
    // A daemon that has said since that it drains still answers reads.
    if (endpoint.state == DaemonState::kDraining) return;
    SetState(endpoint, DaemonState::kReady, "");
    return;
  }
  const bool refused = verdict.outcome == Outcome::kNotNow;
  SetState(endpoint, refused ? DaemonState::kNotReady : DaemonState::kFailed,
           verdict.status.message());
  PlanProbe(endpoint);
}

Daemons Pool::View() {
  absl::MutexLock lock(&mu_);
  Daemons view;
  view.discovery_error = discovery_error_;
  view.credentials_error = credentials_->error();
  for (const auto& endpoint : endpoints_) {
    Usable(*endpoint, endpoint->state);
    view.daemons.push_back(
        {endpoint->name, endpoint->address, endpoint->state, endpoint->error, endpoint->calls});
  }
  return view;
}

Status Pool::WhyNone() const {
  if (endpoints_.empty()) {
    const std::string why = discovery_error_.empty() ? "" : ": " + discovery_error_;
    return {Code::kUnavailable, "no daemon is known" + why};
  }
  std::string why;
  for (std::size_t i = 0; i < std::min(endpoints_.size(), kNamedInError); ++i) {
    const Endpoint& endpoint = *endpoints_[i];
    const std::string error =
        endpoint.error.empty() ? std::string(ToString(endpoint.state)) : endpoint.error;
    why += (i == 0 ? ": " : "; ") + endpoint.name + ": " + error;
  }
  if (endpoints_.size() > kNamedInError) why += "; ...";
  return {Code::kUnavailable,
          "none of " + std::to_string(endpoints_.size()) + " daemons is ready" + why};
}

}  // namespace podmirror::client
