#include "discovery/peer_rules.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <functional>
#include <tuple>

#include "net/address.h"

namespace podmirror::discovery {
namespace {

constexpr std::size_t kMaxTextBytes = 253;  // the longest name that Kubernetes allows
constexpr std::size_t kMaxShownIp = 64;     // longer than any address

bool IsPlain(const std::string& text) {
  return text.size() <= kMaxTextBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

// The container that runs the daemon.
struct Daemon {
  const ContainerStatus* status = nullptr;  // null where there is none yet
  bool sidecar = false;

  bool running() const { return status != nullptr && status->running; }
};

// Without a wanted name it is the first container of the spec, not of the statuses, which come in
// another order. A sidecar has to be named, since other programs may have put sidecars there too.
Daemon FindDaemon(const Pod& pod, const std::string& wanted) {
  const auto find = [](const auto& list, const std::string& name) {
    const auto at = std::find_if(list.begin(), list.end(),
                                 [&](const auto& element) { return element.name == name; });
    return at != list.end() ? &*at : nullptr;
  };
  if (wanted.empty()) {
    if (!pod.containers.empty()) return {find(pod.container_statuses, pod.containers.front().name)};
    return {pod.container_statuses.empty() ? nullptr : &pod.container_statuses.front()};
  }
  if (const ContainerStatus* status = find(pod.container_statuses, wanted)) return {status};
  // A sidecar is reported among the init containers for all its life.
  const ContainerSpec* init = find(pod.init_containers, wanted);
  if (init == nullptr || !init->always_restarted) return {};
  return {find(pod.init_container_statuses, wanted), /*sidecar=*/true};
}

// A pod is Pending until each of its containers has been started once. In a Pending pod the daemon
// may have served for long: as a sidecar it runs before the other containers do, and another
// container may be held up by its image.
bool MayRun(const Pod& pod) { return pod.phase == "Running" || pod.phase == "Pending"; }

// Whether the record says that the daemon is ready, which means that it holds the data. A sidecar
// is ready before its pod is, whose other containers may need the sidecar to become ready: so the
// status of the sidecar's own container counts. When a node is lost, Kubernetes takes back the
// condition Ready and leaves all else as it was. Therefore the container's status counts only while
// the condition ContainersReady is False too, which explains why the pod is not Ready.
bool SaysReady(const Pod& pod, const Daemon& daemon) {
  if (pod.ready == "True") return true;
  return daemon.sidecar && daemon.running() && daemon.status->ready && pod.ready == "False" &&
         pod.containers_ready == "False";
}

// The daemon of another pod runs there.
bool Runs(const Judgement& judgement) {
  return judgement.verdict == Verdict::kPeer || judgement.verdict == Verdict::kTerminating;
}

}  // namespace

PeerRules::PeerRules(PodFilter filter, Selector selector)
    : filter_(std::move(filter)), selector_(std::move(selector)) {
  filter_.self.ip = net::CanonicalIp(filter_.self.ip).value_or("");
}

Result<PeerRules> PeerRules::New(PodFilter filter) {
  if (filter.ns.empty() || !IsPlain(filter.ns) || filter.ns.find('/') != filter.ns.npos) {
    return Status(Code::kInvalid, "namespace: not the name of a namespace");
  }
  if (filter.service.empty() && filter.selector.empty()) {
    return Status(Code::kInvalid, "service: needed, or selector in its place");
  }
  if (!filter.service.empty() && !filter.selector.empty()) {
    return Status(Code::kInvalid, "selector: cannot stand beside service");
  }
  if (!filter.self.ip.empty() && !net::CanonicalIp(filter.self.ip)) {
    return Status(Code::kInvalid, "pod-ip: not an IP address");
  }
  Result<Selector> selector = Selector::Parse(filter.selector);
  if (!selector.ok()) return selector.status();
  return PeerRules(std::move(filter), std::move(*selector));
}

bool PeerRules::IsSelected(const Pod& pod) const {
  if (filter_.service.empty()) return selector_.Matches(pod.labels);
  return pod.name.find(filter_.service) != pod.name.npos;
}

bool PeerRules::IsSelf(const PodRecord& record) const {
  const Identity& self = filter_.self;
  if (!self.uid.empty() && !record.uid.empty()) return record.uid == self.uid;
  if (!self.name.empty()) return record.name == self.name;
  return !self.ip.empty() && record.ip == self.ip;
}

Result<Judgement> PeerRules::Judge(const Pod& pod) const {
  const auto unreadable = [](std::string reason) {
    return Status(Code::kInvalid, std::move(reason));
  };
  if (pod.name.empty() || !IsPlain(pod.name)) return unreadable("not the name of a pod");
  // A static pod tells in the handshake the UID that its kubelet has told it.
  const std::string& uid = pod.static_uid.empty() ? pod.uid : pod.static_uid;
  if (!IsPlain(uid)) return unreadable("not the UID of a pod");
  if (!IsPlain(pod.phase)) return unreadable("not a phase");
  const std::string& ip = pod.pod_ip.empty() && !pod.pod_ips.empty() ? pod.pod_ips[0] : pod.pod_ip;
  const std::optional<std::string> canonical = net::CanonicalIp(ip);
  if (!ip.empty() && !canonical) {
    const std::string shown = IsPlain(ip) && ip.size() <= kMaxShownIp ? " \"" + ip + "\"" : "";
    return unreadable("podIP" + shown + " is not an IP address");
  }

  const Daemon daemon = FindDaemon(pod, filter_.container);
  Judgement judgement;
  judgement.start_time_ms = pod.start_time_ms;
  judgement.record = {.uid = uid,
                      .name = pod.name,
                      .ip = canonical.value_or(""),
                      .port = filter_.peer_port,
                      .phase = pod.phase,
                      .ready = SaysReady(pod, daemon),
                      .started_at_ms = daemon.running() ? daemon.status->started_at_ms : 0,
                      .terminating = pod.terminating};
  judgement.verdict = [&] {
    // Only our namespace is read, so a record that names no namespace is taken to be in ours.
    if (!pod.ns.empty() && pod.ns != filter_.ns) return Verdict::kOtherNamespace;
    if (!IsSelected(pod)) return Verdict::kNotSelected;
    if (IsSelf(judgement.record)) return Verdict::kSelf;
    if (!MayRun(pod)) return Verdict::kNotRunning;
    if (judgement.record.ip.empty()) return Verdict::kNoAddress;
    if (!daemon.running()) return Verdict::kContainerNotRunning;
    return pod.terminating ? Verdict::kTerminating : Verdict::kPeer;
  }();
  const bool kept = judgement.verdict == Verdict::kSelf || Runs(judgement);
  if (!kept) judgement.record = PodRecord();
  return judgement;
}

PeerSet PeerRules::MakeSet(const std::vector<const Judgement*>& judgements,
                           std::string where) const {
  PeerSet set;
  set.where = std::move(where);
  std::string own_ip = filter_.self.ip;
  std::vector<const Judgement*> others;
  for (const Judgement* judgement : judgements) {
    if (Runs(*judgement)) others.push_back(judgement);
    if (judgement->verdict != Verdict::kSelf) continue;
    set.self_listed = true;
    set.self_started_at_ms = judgement->record.started_at_ms;
    if (own_ip.empty()) own_ip = judgement->record.ip;
  }
  // Peers first, then the one that was started last.
  const auto rank = [](const Judgement& pod) {
    return std::make_tuple(pod.verdict == Verdict::kPeer, pod.record.started_at_ms,
                           pod.start_time_ms, std::cref(pod.record.uid));
  };
  std::sort(others.begin(), others.end(),
            [&](const Judgement* a, const Judgement* b) { return rank(*a) > rank(*b); });
  absl::flat_hash_set<std::string> addresses = {own_ip};
  absl::flat_hash_set<std::string> ids;
  for (const Judgement* pod : others) {
    const PodRecord& record = pod->record;
    if (!addresses.contains(record.ip) && ids.insert(record.id()).second) {
      addresses.insert(record.ip);
      (pod->verdict == Verdict::kPeer ? set.peers : set.terminating).push_back(record);
    }
  }
  std::sort(set.peers.begin(), set.peers.end(), OlderThan);
  std::sort(set.terminating.begin(), set.terminating.end(), OlderThan);
  return set;
}

}  // namespace podmirror::discovery
