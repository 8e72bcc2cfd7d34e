// GrpcQueue is the one completion queue of the process, and the one thread that polls it: all gRPC
// that the daemon speaks, as a server and as a client, goes through it.
//
// Why one: of all threads that wait in gRPC 1.51, one polls the sockets of all, and whichever
// thread takes over the polling is woken for it. Each further thread, those of gRPC's callback
// interface and its synchronous server included, costs several wakes for each message. Why not the
// epoll of the HTTP workers: gRPC's public interface gives no descriptor to be polled for a queue.
//
// Thread safety: all calls from any thread, but for what says otherwise.
// Invariants: (1) reactions run on the queue's thread, or within Start on the thread that calls it;
//                 those of one operation once. A reaction must not block, and leaves long work to
//                 another thread.
//             (2) an operation's Event outlives the operation.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <thread>

namespace podmirror::net {

// Event is what one operation after the other on a completion queue ends with.
// Thread safety: one operation at a time; Expect before it starts, from the thread that starts it.
class Event {
 public:
  // ok: as gRPC tells it, for most operations whether they succeeded.
  using Reaction = absl::AnyInvocable<void(bool ok)>;

  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // The tag for the operation that starts next. The reaction is destroyed when it has run, and may
  // hold what owns this event.
  void* Expect(Reaction reaction);
  // The operation will not be told: drops the reaction. May destroy this event.
  void Forget() { const Reaction dropped = std::move(reaction_); }
  // For the queue: the operation is over. May destroy this event.
  void Happen(bool ok);

 private:
  Reaction reaction_;
  bool expected_ = false;
};

class GrpcQueue {
 public:
  GrpcQueue();
  ~GrpcQueue() { Stop(); }
  GrpcQueue(const GrpcQueue&) = delete;
  GrpcQueue& operator=(const GrpcQueue&) = delete;

  // For operations whose tags are Events.
  grpc::ServerCompletionQueue* queue() { return queue_.get(); }
  // Of the one server whose calls may come to this queue. Before that server starts.
  grpc::ServerBuilder& builder() { return builder_; }

  // Calls `start`, which starts operations, and then reacts here to some of what is over at once,
  // as most writes are: to leave that to the queue's thread would wake it each time.
  void Start(absl::FunctionRef<void()> start);

  // Waits for what is under way and for all reactions; nothing may be started any more. The server
  // and all calls must have been ended, or it waits for them. Idempotent, from one thread.
  void Stop();

 private:
  void Run();

  grpc::ServerBuilder builder_;
  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::thread thread_;
};

}  // namespace podmirror::net
