// A RecordSource is a source that reads the records of a store which numbers its changes (etcd, the
// Kubernetes API): it lists them, then watches from there. Here is what all such sources share.
// Thread safety: as PeerSource. Run and what it uses belong to the source's thread; Wake may come
// from any.
// Invariants: (1) the destructor of each derived class calls Stop, because Run and Wake use members
//                 of that class.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "discovery/peer_source.h"
#include "discovery/pod_store.h"
#include "discovery/reporter.h"
#include "discovery/source_thread.h"

namespace podmirror::discovery {

// How often everything is listed again, because a watch may miss a change (there are versions of
// etcd that lose events).
inline constexpr std::chrono::minutes kReconcileInterval{5};
// A watch that is in order after so long is proven: the failures before it are forgotten.
inline constexpr SteadyMs kProvenWatchMs = 10'000;
// After so many failed watches, none proven among them, the failure is told: what we know then is
// no better than the last list.
inline constexpr int kFailedWatches = 3;
// After a watch that ended sooner back-off goes on growing: otherwise requests would follow each
// other without a pause.
inline constexpr SteadyMs kShortWatchMs = 1000;

class RecordSource : public PeerSource {
 public:
  void Start(SourceEvents events) final;
  void Stop() final { thread_.Stop(); }
  void Refresh() final { thread_.Refresh(); }

 protected:
  RecordSource(RecordRules rules, telemetry::Metrics& metrics, Env& env)
      : thread_(env, [this] { Wake(); }),
        backoff_(env),
        metrics_(metrics),
        rules_(std::move(rules)) {}

  // Lists and watches until thread_.stopping().
  virtual void Run() = 0;
  // Makes the call that Run blocks in return soon; see SourceThread.
  virtual void Wake() = 0;

  // Tells the peer set that the store holds now. While watches fail, tells that error again after
  // the set, so that a list alone does not take the error away.
  void Emit(std::string where, std::int64_t revision);
  void WatchFailed(const Status& status);
  // The watch that was opened at `begun` is in order.
  void WatchGood(SteadyMs begun);

  // The store has been read whole.
  void CountList() {
    reporter_->Count(listed_ ? "relist" : "list");
    listed_ = true;
  }

  SourceThread thread_;
  // The members from here on belong to the source's thread; the first two exist from Start on.
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<PodStore> store_;
  Backoff backoff_;

 private:
  telemetry::Metrics& metrics_;
  const RecordRules rules_;
  bool listed_ = false;
  int failed_watches_ = 0;       // since the last proven watch
  std::string watch_error_;      // empty while failed_watches_ is below kFailedWatches
  std::optional<PeerSet> told_;  // the last set
};

}  // namespace podmirror::discovery
