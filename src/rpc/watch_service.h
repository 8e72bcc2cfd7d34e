// podmirror.v1.Cache/Watch and podmirror.v1.Follow/Changes. One thread of its own serves all who
// watch and follow: it takes from each what it is to read next, when the cache has changed or the
// last of it has been written.
// Thread safety: all calls from any thread, but for Stop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "base/env.h"
#include "cache/change_log.h"
#include "follow/follower.h"
#include "net/bulk_thread.h"
#include "podmirror/v1/follow.pb.h"
#include "rpc/callers.h"
#include "rpc/server_call.h"
#include "sync/driver.h"
#include "trust/access.h"
#include "watch/feed.h"
#include "watch/watcher.h"

namespace podmirror::rpc {

class WatchService final : public Service {
 public:
  // Listens to the change log from now on; no thread may use that yet. All that is passed must
  // outlive the service.
  WatchService(const sync::Driver& driver, ChangeLog& changes, watch::Feeds& feeds, const Env& env,
               const trust::Access& access, Callers& callers);
  ~WatchService() override;

  void AddTo(Methods& methods) override;

  // Time goes on: several times a second.
  void Tick();
  // Ends all watches, and from now on each at once.
  void End() override;
  // Ends the thread. Requires: the server has been stopped.
  void Stop() { thread_.Stop(); }

 private:
  class WatchCall;
  using CallRef = std::shared_ptr<WatchCall>;
  using Follows = std::optional<follow::Scope>;  // none: it watches

  // On the queue.
  using Opened = Result<std::unique_ptr<watch::Watcher>>;
  Opened Open(const ServerCall& call, grpc::ByteBuffer& bytes);
  void BeginChanges(const std::shared_ptr<ServerCall>& call, grpc::ByteBuffer& bytes);
  Opened OpenChanges(const ServerCall& call, const v1::ChangesRequest& request,
                     follow::Scope scope);
  Opened Open(std::shared_ptr<watch::Feed> feed, const watch::Start& start);
  void Begin(const std::shared_ptr<ServerCall>& call, Opened watcher, Follows follows);
  void Wake();

  // On the thread.
  void LookAtAll();
  // What the daemon holds, once the changes up to `last` are told.
  struct Held {
    std::uint64_t last = 0;
    follow::DaemonState state{};
  };
  Held HeldNow(Now now) const;

  const sync::Driver& driver_;
  watch::Feeds& feeds_;
  const Env& env_;
  const trust::Access& access_;
  Callers& callers_;
  std::atomic<int> calls_open_{0};
  std::atomic<bool> woken_{false};  // LookAtAll is about to run
  std::atomic<bool> ended_{false};
  std::atomic<SteadyMs> look_at_{0};
  absl::flat_hash_set<CallRef> calls_;  // the thread's
  net::BulkThread thread_{"watchers"};
};

}  // namespace podmirror::rpc
