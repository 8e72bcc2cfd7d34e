#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "discovery/peer_source.h"
#include "discovery/reporter.h"
#include "discovery/source_thread.h"
#include "discovery/static_peers.h"
#include "net/resolver.h"

namespace podmirror::discovery {
namespace {

constexpr std::chrono::milliseconds kResolveTimeout{5000};

class StaticSource final : public PeerSource {
 public:
  StaticSource(StaticPeers peers, std::chrono::milliseconds interval, telemetry::Metrics& metrics,
               Env& env)
      : interval_(interval),
        metrics_(metrics),
        thread_(env, [this] { Wake(); }),
        resolver_(env),
        peers_(std::move(peers)) {}

  ~StaticSource() override { Stop(); }

  void Start(SourceEvents events) override {
    reporter_ = std::make_unique<Reporter>(std::move(events), metrics_);
    thread_.Start([this] { Run(); });
  }
  void Stop() override { thread_.Stop(); }
  void Refresh() override { thread_.Refresh(); }

 private:
  void Wake() {
    if (thread_.stopping()) resolver_.Cancel();
  }

  void Run() {
    do {
      thread_.BeginRead();
      Resolve();
    } while (thread_.SleepUntil(thread_.now() + interval_.count()));
  }

  // A name that cannot be resolved keeps its addresses. While any address is known, the set is told
  // although it may lack some, and the failure after it. While none is known, no set is told: an
  // empty one would look as if we were meant to be alone.
  void Resolve() {
    const std::vector<std::string> names = peers_.Names();
    const std::vector<Result<net::Resolver::Addresses>> results =
        resolver_.Resolve(names, kResolveTimeout);
    if (thread_.stopping()) return;
    std::string errors;
    for (std::size_t i = 0; i < names.size(); ++i) {
      peers_.Resolved(names[i], results[i]);
      if (results[i].ok()) continue;
      errors += (errors.empty() ? "" : "; ") + names[i] + ": " + results[i].status().message();
    }
    PeerSet set = peers_.MakeSet();
    if (errors.empty() || (peers_.AnyKnown() && set != last_)) {
      last_ = set;
      reporter_->Count("list");
      reporter_->Peers(std::move(set), 0);
    }
    if (!errors.empty()) reporter_->Failed(errors);
  }

  const std::chrono::milliseconds interval_;
  telemetry::Metrics& metrics_;
  SourceThread thread_;
  net::Resolver resolver_;

  // The source's thread only.
  StaticPeers peers_;
  std::unique_ptr<Reporter> reporter_;
  std::optional<PeerSet> last_;  // told last
};

// A source without peers. It has a thread so that its events come from there, as with all sources.
class NoneSource final : public PeerSource {
 public:
  explicit NoneSource(Env& env) : thread_(env, [] {}) {}
  ~NoneSource() override { Stop(); }

  void Start(SourceEvents events) override {
    thread_.Start([this, events = std::move(events)] {
      constexpr SteadyMs kDay = 86'400'000;
      PeerSet set;
      set.self_listed = true;
      set.where = "none";
      do {
        thread_.BeginRead();
        events.peers(set, 0);
      } while (thread_.SleepUntil(thread_.now() + kDay));
    });
  }
  void Stop() override { thread_.Stop(); }
  void Refresh() override { thread_.Refresh(); }

 private:
  SourceThread thread_;
};

}  // namespace

Result<std::unique_ptr<PeerSource>> NewStaticSource(const std::vector<std::string>& peers,
                                                    const Identity& self, std::uint16_t self_port,
                                                    std::chrono::milliseconds resolve_interval,
                                                    telemetry::Metrics& metrics, Env& env) {
  Result<StaticPeers> parsed = StaticPeers::New(peers, self, self_port);
  if (!parsed.ok()) return parsed.status();
  return std::unique_ptr<PeerSource>(
      new StaticSource(std::move(*parsed), resolve_interval, metrics, env));
}

std::unique_ptr<PeerSource> NewNoneSource(Env& env) { return std::make_unique<NoneSource>(env); }

}  // namespace podmirror::discovery
