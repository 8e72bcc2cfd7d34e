#include <absl/strings/ascii.h>
#include <absl/synchronization/notification.h>
#include <absl/time/time.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "discovery/etcd_options.h"
#include "discovery/etcd_v3_source.h"
#include "discovery/peer_source.h"
#include "discovery/registrar.h"
#include "discovery/registry_record.h"
#include "discovery/source_thread.h"

namespace podmirror::discovery {
namespace {

constexpr absl::Duration kSeenGone = absl::Milliseconds(100);

// A registrar that keeps our own entry, and a watch of all entries. A set that the watch sees is a
// good answer once the watch has seen our own entry: a daemon that registers before it lists cannot
// overlook another daemon that does the same. While our entry is missing, other entries may be
// missing too, so no peer is dropped then.
class RegistrySource final : public PeerSource {
 public:
  RegistrySource(const CheckedEtcdOptions& options, const RegistryRecord& self,
                 std::chrono::seconds ttl, telemetry::Metrics& metrics, Env& env)
      : env_(env),
        watch_(NewEtcdV3RecordSource(options, RegistryRules(self), metrics, env)),
        registrar_(
            options, self, ttl, [this] { watch_->Refresh(); }, env) {}

  ~RegistrySource() override { Stop(); }

  void Start(SourceEvents events) override {
    peers_ = std::move(events.peers);
    failed_ = std::move(events.failed);
    events.peers = [this](PeerSet set, std::int64_t revision) { OnSet(std::move(set), revision); };
    events.failed = [this](const std::string& error) {
      told_error_.clear();
      failed_(error);
    };
    watch_->Start(std::move(events));
    registrar_.Start();
  }
  // The other daemons should have dropped us before our ports close: then no write waits for us in
  // vain. They see our entry go at about the time when we see it ourselves.
  void Stop() override {
    if (registrar_.Stop()) gone_.WaitForNotificationWithTimeout(kSeenGone);
    watch_->Stop();
  }
  void Refresh() override { watch_->Refresh(); }
  void SetReady(bool ready) override { registrar_.SetReady(ready); }

 private:
  void OnSet(PeerSet set, std::int64_t revision) {
    const bool listed = set.self_listed;
    if (!listed && registrar_.stopped()) {
      if (!gone_.HasBeenNotified()) gone_.Notify();
      return;
    }
    if (!listed && known_) registrar_.EntryMissing();
    const Registrar::State state = registrar_.state();
    if (listed || known_) {
      set.self_listed = true;
      if (known_ && (!listed || env_.now().steady < state.suspect_until)) KeepKnown(set);
      const bool same = known_ == set;
      known_ = set;
      if (state.error.empty() || !same) {
        told_error_.clear();
        peers_(std::move(set), revision);
      }
    }
    if (state.error.empty() || state.error == told_error_) return;
    told_error_ = state.error;
    failed_(state.error);
  }

  void KeepKnown(PeerSet& set) const {
    const std::size_t listed = set.peers.size();
    for (const PodRecord& peer : known_->peers) {
      const bool there = std::any_of(
          set.peers.begin(), set.peers.begin() + static_cast<std::ptrdiff_t>(listed),
          [&](const PodRecord& other) {
            return other.id() == peer.id() || (other.ip == peer.ip && other.port == peer.port);
          });
      if (!there) set.peers.push_back(peer);
    }
    std::sort(set.peers.begin(), set.peers.end(), OlderThan);
  }

  Env& env_;
  const std::unique_ptr<PeerSource> watch_;
  Registrar registrar_;      // calls watch_
  absl::Notification gone_;  // we have stopped, and our entry is gone

  // The watch's thread only, but for Start.
  std::function<void(PeerSet, std::int64_t)> peers_;
  std::function<void(const std::string&)> failed_;
  std::optional<PeerSet> known_;  // told last; none before we were listed
  std::string told_error_;        // the registrar's last error told; empty after anything else told
};

// Checks one part of a key.
Status CheckPart(const char* setting, const std::string& part) {
  const bool plain = std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
  });
  if (plain && !part.empty() && part.size() <= 253) return Status();
  return Status(Code::kInvalid,
                std::string(setting) + ": letters, digits, '-', '.' and '_' expected");
}

// The checked options, with `where` set to the place of the entries.
Result<CheckedEtcdOptions> CheckWhere(EtcdOptions etcd, const std::string& schema,
                                      const std::string& service, Env& env) {
  if (Status status = CheckPart("registry-schema", schema); !status.ok()) return status;
  if (Status status = CheckPart("service", service); !status.ok()) return status;
  if (schema == "registry" || "/" + schema == etcd.prefix) {
    return Status(Code::kInvalid,
                  "registry-schema: \"" + schema + "\" is where Kubernetes keeps its own records");
  }
  Result<CheckedEtcdOptions> options = CheckEtcdOptions(std::move(etcd), "", env);
  if (options.ok()) options->where = "/" + schema + "/" + service;
  return options;
}

}  // namespace

Result<std::unique_ptr<PeerSource>> NewRegistrySource(EtcdOptions etcd,
                                                      const RegistryOptions& registry,
                                                      telemetry::Metrics& metrics, Env& env) {
  const Result<CheckedEtcdOptions> options =
      CheckWhere(std::move(etcd), registry.schema, registry.service, env);
  if (!options.ok()) return options.status();
  const std::optional<std::string> ip = net::CanonicalIp(registry.self.ip);
  if (!ip || *ip == "::" || *ip == "0.0.0.0")
    return Status(Code::kInvalid, "pod-ip: the registry needs an IP address");
  if (registry.self.uid.empty()) return Status(Code::kInvalid, "pod-uid: the registry needs one");
  if (registry.port == 0) return Status(Code::kInvalid, "peer-port: the registry needs one");
  RegistryRecord self;
  self.name = registry.self.name;
  self.uid = registry.self.uid;
  self.address = {.host = *ip, .port = registry.port, .is_ip = true};
  self.started_at_ms = env.now().wall;
  if (Result<RegistryRecord> read = DecodeRegistryRecord("", EncodeRegistryRecord(self));
      !read.ok()) {
    return Status(Code::kInvalid, "pod-name, pod-uid: the " + read.status().message());
  }
  const auto ttl = std::chrono::ceil<std::chrono::seconds>(registry.ttl);
  return std::unique_ptr<PeerSource>(new RegistrySource(*options, self, ttl, metrics, env));
}

Result<std::unique_ptr<PeerSource>> NewRegistryView(EtcdOptions etcd, const std::string& schema,
                                                    const std::string& service,
                                                    telemetry::Metrics& metrics, Env& env) {
  Result<CheckedEtcdOptions> options = CheckWhere(std::move(etcd), schema, service, env);
  if (!options.ok()) return options.status();
  return NewEtcdV3RecordSource(std::move(*options), RegistryRulesOfClient(), metrics, env);
}

}  // namespace podmirror::discovery
