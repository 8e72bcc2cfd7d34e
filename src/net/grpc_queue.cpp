#include "net/grpc_queue.h"

#include <grpc/grpc.h>
#include <grpcpp/support/async_stream.h>
#include <pthread.h>

#include <cstdlib>
#include <utility>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace podmirror::net {
namespace {

// Whether this thread is in Start, or is the one that polls: it comes to further events by itself.
thread_local bool reacting = false;

// How many reactions a caller of Start is kept for: each may start what is over at once again.
constexpr int kReactions = 16;

// What gRPC orders by means that ThreadSanitizer does not see: Expect before Happen.
void TellExpected([[maybe_unused]] Event* event) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(event);
#endif
}

void TellHappened([[maybe_unused]] Event* event) {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(event);
#endif
}

}  // namespace

void* Event::Expect(Reaction reaction) {
  reaction_ = std::move(reaction);
  expected_ = true;
  TellExpected(this);
  return this;
}

void Event::Happen(bool ok) {
  TellHappened(this);
  if (!std::exchange(expected_, false)) std::abort();
  Reaction reaction = std::move(reaction_);
  reaction(ok);
}

GrpcQueue::GrpcQueue() : queue_(builder_.AddCompletionQueue()), thread_([this] { Run(); }) {}

void GrpcQueue::Stop() {
  if (!thread_.joinable()) return;
  queue_->Shutdown();
  thread_.join();
}

void GrpcQueue::Start(absl::FunctionRef<void()> start) {
  if (reacting) {
    start();
    return;
  }
  reacting = true;
  grpc_completion_queue_thread_local_cache_init(queue_->cq());
  start();
  void* tag = nullptr;
  int success = 0;
  for (int left = kReactions;
       grpc_completion_queue_thread_local_cache_flush(queue_->cq(), &tag, &success) != 0; --left) {
    // As CompletionQueue::Next: what gRPC has to finish itself, and which events are its own.
    bool ok = success != 0;
    // At last without the cache: what is over at once is then told on the queue's thread.
    if (left > 0) grpc_completion_queue_thread_local_cache_init(queue_->cq());
    if (static_cast<grpc::internal::CompletionQueueTag*>(tag)->FinalizeResult(&tag, &ok)) {
      static_cast<Event*>(tag)->Happen(ok);
    }
  }
  reacting = false;
}

void GrpcQueue::Run() {
  pthread_setname_np(pthread_self(), "grpc");
  reacting = true;
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<Event*>(tag)->Happen(ok);
}

}  // namespace podmirror::net
