// Driver runs the sans-IO Node: one mutex around it, and the pump. Whichever thread brings an event
// steps the node, unlocks, then carries out the effects. It is all that rest, rpc and app see of
// the sync core, and the simulation runs the very same code.
//
// A stream is pulled: Transport::Wake(conn) says that the node may have something to send. When no
// write is in flight the transport calls Pull(conn), writes the message, and calls Pull again when
// the write is done, until Pull returns nothing; then it waits for the next Wake.
//
// Thread safety: all calls from any thread. Nothing is called back under a lock, so Transport,
// observer and WriteDone may call the driver again.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "base/env.h"
#include "base/peer.h"
#include "base/status.h"
#include "cache/cache.h"
#include "sync/assembly.h"
#include "sync/message.h"
#include "sync/node.h"
#include "sync/types.h"

namespace podmirror::sync {

// Carries messages between daemons. No call may block or throw.
class Transport {
 public:
  virtual ~Transport() = default;
  // Opens a stream to `peer`; answered by Driver::Opened or Driver::Closed for the same id. With
  // `legacy` the peer speaks hellorpc.Sync only, and the transport translates
  // (rpc/legacy_stream.h).
  virtual void Dial(ConnId conn, const PodRecord& peer, bool legacy) = 0;
  // The node may have something to send on this stream. Unknown ids are ignored.
  virtual void Wake(ConnId conn) = 0;
  // Ends the stream; Driver::Closed may follow or not. Unknown ids are ignored.
  virtual void Close(ConnId conn) = 0;
};

// A message on its way in. Its steps belong together: may it be taken, its entries into the cache,
// then the message itself to the node. The lock is free between them. A message that brings no
// entries takes one step only.
struct Arrival {
  enum class Next : std::uint8_t { kAdmit, kMerge, kReceived, kNone };
  ConnId conn = 0;
  Message message;
  Next next = Next::kAdmit;
  std::optional<std::uint64_t> dead_floor = std::nullopt;  // for Cache::MergeAll
  Merged merged = {};
};

class Driver {
 public:
  using Observer = std::function<void(const Event&)>;

  // `cache`, `env` and `transport` must outlive the driver. The observer may be empty.
  Driver(NodeOptions options, Cache& cache, Env& env, Transport& transport, Observer observer);

  // --- for rest and rpc: writes and what is to be seen ---

  // Applies all items in order, then waits as `options` say and calls `done`. Refused: nothing
  // applied, `done` is dropped. Requires: items checked (key, value size, ttl).
  WriteRefusal Write(std::span<const WriteItem> items, const WriteOptions& options, WriteDone done);
  // Applies the items here only, without sending them on: their writer tells the others itself
  // (hellorpc.Sync.Set).
  WriteRefusal WriteLocal(std::span<const WriteItem> items);

  // While there is one, what this thread's calls of the driver wake is kept, each stream once, and
  // given to the transport when it ends: so writes that come together go to a peer as one message.
  // Not to be nested.
  class Round {
   public:
    explicit Round(Driver& driver);
    ~Round();
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;

   private:
    friend class Driver;
    Driver& driver_;
    std::vector<ConnId> wakes_;
  };

  // Of this run of the daemon.
  Incarnation incarnation() const { return incarnation_; }
  // What expires then or before has expired for all pods (clocks.h).
  WallMs expired_by() const { return expired_by_.load(std::memory_order_relaxed); }

  // It has the data, and is not about to end. What it takes meanwhile, Write and Status tell.
  bool ready() const { return ready_.load(std::memory_order_relaxed); }
  NodeStatus Status() const;
  std::vector<PeerStatus> Peers() const;  // oldest first

  // --- for discovery ---
  void SetPeers(const PeerSet& set);
  // Why there has been no good answer yet, shown as the reason while not ready.
  void DiscoveryFailed(const std::string& error);
  // Called when a peer that no record names says hello: time to list again.
  void set_on_unknown_peer(std::function<void()> callback) {
    on_unknown_peer_ = std::move(callback);
  }

  // --- for the transport ---
  ConnId Accept();                             // an inbound stream was opened
  void Opened(ConnId conn);                    // a dialled stream is open
  void Receive(ConnId conn, Message message);  // calls for one stream must not overlap
  // Receive in its steps, for the simulation: other calls come between them, as from other threads.
  // Takes the next step; false when there is none left.
  bool Step(Arrival& arrival);
  // What is to be sent, or a question whose answer is; making the answer may take a millisecond.
  // Calls for one stream must not overlap.
  Outgoing Pull(ConnId conn);
  Message AnswerTo(const Question& question) const { return Answer(cache_, question); }
  // Pull, with the answer made at once.
  std::optional<Message> Next(ConnId conn);
  void Closed(ConnId conn, const podmirror::Status& status);

  // --- for app ---
  // Moves time on: call it every kTickMs or so, from one thread; every kReadyTickMs once ready.
  // Only waits of a second or of a caller's timeout depend on it then, and waking the thread costs
  // more than the tick itself.
  static constexpr std::int64_t kTickMs = 25;
  static constexpr std::int64_t kReadyTickMs = 4 * kTickMs;
  void Tick();
  // Our certificate or those we believe have changed: peers that one of the two refused for theirs
  // are dialled again at once.
  void CredentialsChanged();
  // We are about to drain, and go on serving until then. Others drop a pod that is terminating, and
  // send it nothing any more: so what they write is asked for, several times a second.
  void Leave();
  void BeginDrain();
  bool drained() const;  // peers have what they lacked, or cannot be reached
  // Answers every write that waits for peers, as far as it has come: nobody whose write was applied
  // is left without an answer when the ports close.
  void EndWaits();

 private:
  void Pump(absl::FunctionRef<void(Node&, Now)> step);
  void Wake(const std::vector<ConnId>& conns);
  void ReceiveFragment(ConnId conn, const Fragment& fragment,
                       std::optional<std::uint64_t> dead_floor);

  Cache& cache_;
  Assembly assembly_;  // of what comes in fragments
  Env& env_;
  Transport& transport_;
  const Observer observer_;
  std::function<void()> on_unknown_peer_;  // set before threads start
  SteadyMs sweep_at_ = 0;                  // Tick's own
  std::atomic<bool> ready_{false};
  std::atomic<WallMs> expired_by_{0};  // Node::ExpiredBy
  std::atomic<std::uint64_t> expired_{0};
  mutable absl::Mutex mu_;
  Node node_ ABSL_GUARDED_BY(mu_);
  const Incarnation incarnation_;  // the node's
};

}  // namespace podmirror::sync
