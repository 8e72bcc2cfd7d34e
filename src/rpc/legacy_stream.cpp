#include "rpc/legacy_stream.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <variant>

#include "net/grpc_channel.h"
#include "net/grpc_status.h"
#include "rpc/legacy_codec.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {
namespace {

// The calls for each kind of task, in that order.
struct MethodOf {
  std::string_view name;
  std::int64_t timeout_ms;
};
constexpr MethodOf kMethods[] = {{"Get", 2000}, {"Set", 5000}, {"GetAll", 10'000}};

// A legacy peer does not tell one run of it from the next: it gets one incarnation for ever, made
// from its id, and so the same on all daemons.
sync::Incarnation IncarnationOf(const PodRecord& peer) {
  const std::string id = peer.id();
  return std::max<sync::Incarnation>(1, XXH3_64bits(id.data(), id.size()));
}

}  // namespace

Status LegacyStream::Dial(sync::ConnId conn, const Way& way, const PodRecord& peer,
                          const StreamContext& context, telemetry::Metrics& metrics) {
  const auto stream = std::make_shared<LegacyStream>(conn, way, peer, context, metrics);
  Status status = context.streams.Add(conn, stream, StreamSet::kMaxWithDialled);
  if (status.ok()) {
    context.driver.Opened(conn);
    stream->Pump();
  }
  return status;
}

LegacyStream::LegacyStream(sync::ConnId conn, const Way& way, const PodRecord& peer,
                           const StreamContext& context, telemetry::Metrics& metrics)
    : GatedStream(context.streams),
      conn_(conn),
      incarnation_(IncarnationOf(peer)),
      context_(context),
      metrics_(metrics),
      channel_(way, context.env) {}

void LegacyStream::Pump() {
  WriteGate::Next next = WriteGate::Next::kPump;
  while (next == WriteGate::Next::kPump) {
    while (HasRoom() && !gate().closing()) {
      const std::optional<sync::Message> message = context_.driver.Next(conn_);
      if (!message) break;
      Handle(*message);
    }
    next = gate().Idle();
  }
  Do(next);
}

bool LegacyStream::HasRoom() const {
  absl::MutexLock lock(&mu_);
  return tasks_.size() < kMaxTasks;
}

void LegacyStream::Handle(const sync::Message& message) {
  if (std::holds_alternative<sync::Hello>(message)) {
    sync::HelloReply reply;
    reply.legacy = true;
    reply.self.incarnation = incarnation_;
    Enqueue({Task::Kind::kProbe, {}, std::move(reply)});
  } else if (const auto* batch = std::get_if<sync::Batch>(&message)) {
    HandleSet(batch->entries, sync::Ack{batch->last_seq});
  } else if (const auto* push = std::get_if<sync::Push>(&message)) {
    HandleSet(push->entries, sync::PushReply{push->pass});
  } else if (std::holds_alternative<sync::Fetch>(message)) {
    Enqueue({Task::Kind::kGetAll, {}, {}});
  } else if (std::holds_alternative<sync::Heartbeat>(message)) {
    if (channel_.channel()->GetState(false) == GRPC_CHANNEL_READY) {
      Deliver(sync::Heartbeat{});
    } else {
      Close({Code::kUnavailable, "connection lost"});
    }
  } else {
    std::abort();  // the node says nothing else to a legacy peer
  }
}

void LegacyStream::HandleSet(const std::vector<EntryRef>& entries, sync::Message reply) {
  LegacyRequests translated = ToLegacy(entries);
  if (translated.skipped != 0) metrics_.LegacyValueSkipped(translated.skipped);
  if (translated.requests.empty()) {
    Deliver(std::move(reply));
  } else {
    Enqueue({Task::Kind::kSet, std::move(translated.requests), std::move(reply)});
  }
}

void LegacyStream::Enqueue(Task task) {
  {
    absl::MutexLock lock(&mu_);
    tasks_.push_back(std::move(task));
  }
  Advance();
}

void LegacyStream::Advance() {
  const auto call = std::make_shared<Call>();
  {
    absl::MutexLock lock(&mu_);
    if (stopped_ || call_ || tasks_.empty()) return;
    Task& task = tasks_.front();
    call->kind = task.kind;
    if (task.kind == Task::Kind::kSet) {
      call->request = std::move(task.requests.front());
      task.requests.pop_front();
    }
    call_ = call;
  }
  Start(call);
}

void LegacyStream::Start(const std::shared_ptr<Call>& call) {
  const MethodOf& method = kMethods[static_cast<int>(call->kind)];
  net::SetTimeout(call->context, method.timeout_ms);
  call->reader = grpc::GenericStub(channel_.channel())
                     .PrepareUnaryCall(&call->context, "/hellorpc.Sync/" + std::string(method.name),
                                       ToBytes(call->request), context_.queue.queue());
  call->reader->StartCall();
  call->reader->Finish(
      &call->response, &call->status, call->end.Expect([self = shared_from_this(), call](bool) {
        if (call->response.Length() < net::kBulkBytes) {
          self->Completed(call);
        } else {
          self->context_.bulk.PostForPeers([self, call] { self->Completed(call); });
        }
      }));
}

void LegacyStream::Completed(const std::shared_ptr<Call>& call) {
  Status outcome = channel_.Outcome(net::FromGrpc(call->status));
  hellorpc::SyncResponse response;
  if (outcome.ok()) outcome = FromBytes(call->response, &response);
  // A value that the service does not take even alone is skipped: it must not hold up all other
  // values for ever.
  const bool too_large = outcome.code() == Code::kExhausted && HoldsOne(call->request) &&
                         call->request.ByteSizeLong() > sync::kLegacyRequestBytes;
  if (too_large) metrics_.LegacyValueSkipped(1);
  // A service whose data do not fit into one message keeps its stream: else it would lose the
  // stream again and again.
  const bool too_much = outcome.code() == Code::kExhausted && call->kind == Task::Kind::kGetAll;
  const bool succeeded = outcome.ok() || too_large || too_much;
  if (succeeded) {
    Succeeded(*call, response, outcome);
  } else {
    const std::string name(kMethods[static_cast<int>(call->kind)].name);
    Close({outcome.code(), name + ": " + outcome.message()});
  }
  bool ended = false;
  {
    // Only now, since the stream cannot be done while call_ is set.
    absl::MutexLock lock(&mu_);
    call_.reset();
    // Set here too, because another thread may be closing the stream and not have set it yet. The
    // rest of a task that failed must not be sent: then the whole task would be acknowledged.
    if (!succeeded) stopped_ = true;
    ended = ended_;
  }
  if (ended) {
    Done();
  } else {
    Advance();
  }
}

void LegacyStream::Succeeded(const Call& call, const hellorpc::SyncResponse& response,
                             const Status& outcome) {
  sync::Message reply;
  bool was_full = false;
  {
    absl::MutexLock lock(&mu_);
    Task& task = tasks_.front();
    if (!task.requests.empty()) return;
    was_full = tasks_.size() == kMaxTasks;
    reply = std::move(task.reply);
    tasks_.pop_front();
  }
  if (call.kind == Task::Kind::kGetAll) {
    LegacyEntries copy = FromLegacy(response);
    if (copy.skipped != 0) metrics_.LegacyValueSkipped(copy.skipped);
    sync::FetchReply fetched;
    fetched.entries = std::move(copy.entries);
    fetched.next = {kBuckets, 0};
    fetched.done = true;
    if (!outcome.ok()) fetched.failure = "GetAll: " + outcome.message();
    reply = std::move(fetched);
  }
  Deliver(std::move(reply));
  if (was_full) Wake();
}

void LegacyStream::Deliver(sync::Message reply) {
  absl::ReleasableMutexLock lock(&mu_);
  replies_.push_back(std::move(reply));
  if (delivering_) return;
  delivering_ = true;
  lock.Release();
  for (;;) {
    sync::Message next;
    {
      absl::MutexLock relock(&mu_);
      if (replies_.empty()) {
        delivering_ = false;
        return;
      }
      next = std::move(replies_.front());
      replies_.pop_front();
    }
    context_.driver.Receive(conn_, std::move(next));
  }
}

void LegacyStream::Cancel() {
  std::shared_ptr<Call> call;
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    call = call_;
  }
  if (call) call->context.TryCancel();
}

void LegacyStream::End() {
  Cancel();
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
    if (call_) return;  // its completion is the end
  }
  Done();
}

void LegacyStream::Done() {
  context_.driver.Closed(conn_, reason().value_or(Status(Code::kUnavailable, "stream ended")));
  context_.streams.Remove(conn_);
}

}  // namespace podmirror::rpc
