// A RecordSource is a source that reads the records of a store which numbers its changes (etcd, the
// Kubernetes API): lists them, then watches from there. Here is what all of these have in common.
// Thread safety: as PeerSource. Run and what it uses belong to the source's thread; Wake may come
// from any.
// Invariants: (1) the destructor of whatever derives from it calls Stop: Run and Wake use its
//                 members.
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

// A list now and then makes good whatever a watch may have missed (there are versions of etcd that
// lose events).
inline constexpr std::chrono::minutes kReconcileInterval{5};
// A watch that has lived for so long was worth opening.
inline constexpr SteadyMs kProvenWatchMs = 10'000;
// So many watches that fail one after the other without that are trouble to tell: what is known is
// no better than the last list.
inline constexpr int kFailedWatches = 3;
// A watch that ends sooner counts as a failure: otherwise requests would follow each other.
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
  // Makes whatever Run blocks in return soon; see SourceThread.
  virtual void Wake() = 0;

  // What the store holds now. While watches fail, a list alone does not take the error away.
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
  // From here on the source's thread only; the first two are there while it runs.
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<PodStore> store_;
  Backoff backoff_;

 private:
  telemetry::Metrics& metrics_;
  const RecordRules rules_;
  bool listed_ = false;
  int failed_watches_ = 0;       // since the last one that was proven
  std::string watch_error_;      // empty: there were few of them
  std::optional<PeerSet> told_;  // the last set
};

}  // namespace podmirror::discovery
