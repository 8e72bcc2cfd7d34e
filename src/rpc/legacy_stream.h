// LegacyStream stands for a stream to a peer that speaks only hellorpc.Sync: it translates what the
// node says into that service's calls, and the outcome into what such a peer would have answered.
//
//   Hello -> an empty Get -> HelloReply      Fetch -> GetAll -> FetchReply, all at once
//   Batch -> Set ...      -> Ack             Push  -> Set ... -> PushReply
//   Heartbeat -> Heartbeat, while connected
//
// A call that fails ends the stream, and the node dials again; but not a call that would fail at
// any time, as for a value that is too large. One call is in flight; heartbeats are answered
// meanwhile, so a long GetAll does not look like silence.
// Thread safety: Wake and Close from any thread; calls complete by the queue, and large answers are
// taken by the bulk thread.
// Invariants: (1) Driver::Receive calls do not overlap.
//             (2) the end is told to the driver once, when no call is in flight any more.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/peer.h"
#include "hellorpc/hellorpc.pb.h"
#include "rpc/channel.h"
#include "rpc/gated_stream.h"
#include "rpc/stream_set.h"
#include "sync/driver.h"
#include "telemetry/metrics.h"

namespace podmirror::rpc {

class LegacyStream final : public GatedStream, public std::enable_shared_from_this<LegacyStream> {
 public:
  // As DialledStream::Dial.
  static Status Dial(sync::ConnId conn, const Way& way, const PodRecord& peer,
                     const StreamContext& context, telemetry::Metrics& metrics);

  LegacyStream(sync::ConnId conn, const Way& way, const PodRecord& peer,
               const StreamContext& context, telemetry::Metrics& metrics);

  std::shared_ptr<const trust::Presented> presented() const override {
    return channel_.presented();
  }

 private:
  // The node asks one thing at a time for each purpose; with so many tasks we stop pulling.
  static constexpr std::size_t kMaxTasks = 8;

  // One message of the node, as the calls that it takes.
  struct Task {
    enum class Kind { kProbe, kSet, kGetAll };
    Kind kind = Kind::kProbe;
    std::deque<hellorpc::SyncRequest> requests;  // kSet: those that have not been sent yet
    sync::Message reply;                         // kProbe, kSet: for the node, after all calls
  };
  struct Call {
    Task::Kind kind = Task::Kind::kProbe;
    grpc::ClientContext context;
    hellorpc::SyncRequest request;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    grpc::ByteBuffer response;
    grpc::Status status;
    net::Event end;
  };

  void Pump() override;
  bool HasRoom() const;
  void Handle(const sync::Message& message);
  void HandleSet(const std::vector<EntryRef>& entries, sync::Message reply);
  void Enqueue(Task task);
  // Starts the next call unless one is in flight.
  void Advance();
  void Start(const std::shared_ptr<Call>& call);
  void Completed(const std::shared_ptr<Call>& call);
  // Takes the task at the front further after its call. outcome: OK, or why the peer cannot do what
  // the call asks for, though it is alive.
  void Succeeded(const Call& call, const hellorpc::SyncResponse& response, const Status& outcome);
  // Gives replies to the driver one after the other, though several threads may bring them.
  void Deliver(sync::Message reply);
  // No call may be started any more; the one in flight is cancelled.
  void Cancel() override;
  void End() override;
  void Done();

  const sync::ConnId conn_;
  const sync::Incarnation incarnation_;
  const StreamContext context_;
  telemetry::Metrics& metrics_;
  const PeerChannel channel_;

  mutable absl::Mutex mu_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);  // the first one is under way
  std::shared_ptr<Call> call_ ABSL_GUARDED_BY(mu_);
  std::deque<sync::Message> replies_ ABSL_GUARDED_BY(mu_);
  bool delivering_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace podmirror::rpc
