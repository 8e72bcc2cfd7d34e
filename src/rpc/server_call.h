// ServerCall is one call that a client makes, of whatever method: what its handler reads and writes
// are bytes. UnaryCall is one of a method with one request and one answer.
//
// A handler is called with each call of its method, by the queue. It keeps the call for as long as
// it uses it.
// Thread safety: as gRPC's: one read and one write or finish at a time, from any thread.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/byte_budget.h"
#include "base/status.h"
#include "net/bulk_thread.h"
#include "net/grpc_bytes.h"
#include "net/grpc_queue.h"
#include "trust/access.h"

namespace podmirror::rpc {

using net::FromBytes;
using net::ToBytes;

// How many calls there are: their server cannot go before them.
// Thread safety: all calls from any thread.
class CallCount {
 public:
  void Add(int change);
  // Waits until there are none. False when there are some after `timeout`.
  bool AwaitNone(absl::Duration timeout);

 private:
  absl::Mutex mu_;
  absl::CondVar none_;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
};

class ServerCall : public std::enable_shared_from_this<ServerCall> {
 public:
  // Both must outlive the call.
  ServerCall(net::GrpcQueue& queue, CallCount& count)
      : count_(count), queue_(queue), stream_(&context_) {
    count_.Add(1);
  }
  ~ServerCall() { count_.Add(-1); }
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  // Waits for a call to come. on_come(true) when this is one, false when the server ends.
  void Await(grpc::AsyncGenericService& service, net::Event::Reaction on_come);

  // "/podmirror.v1.Cache/Get". Once it has come.
  const std::string& method() const { return context_.method(); }
  const grpc::ServerContextBase& context() const { return context_; }

  // Who makes the call; set before its handler has it, but not for methods that anybody may call.
  const trust::Asker& asker() const { return asker_; }
  void set_asker(trust::Asker asker) { asker_ = std::move(asker); }

  // Calls `reaction` once gRPC has done with the call, also when the client has gone away. Once.
  void OnEnd(net::Event::Reaction reaction);

  // Each calls its reaction when it is through; what it is given must live until then.
  void Read(grpc::ByteBuffer* to, net::Event::Reaction reaction);
  void Write(const grpc::ByteBuffer& message, net::Event::Reaction reaction);
  void Finish(const Status& status, net::Event::Reaction reaction);
  // Answers with one message and ends the call well.
  void WriteAndFinish(const grpc::ByteBuffer& message, net::Event::Reaction reaction);
  // Ends the call; there is nothing to be done when it is through.
  void Finish(const Status& status);
  // Ends the call soon, whatever is in flight.
  void Cancel() { context_.TryCancel(); }

 private:
  void Ended();

  CallCount& count_;
  net::GrpcQueue& queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  trust::Asker asker_;
  absl::Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  net::Event::Reaction on_end_ ABSL_GUARDED_BY(mu_);  // may be empty
  net::Event come_;
  net::Event end_;
  net::Event read_;
  net::Event write_;  // of a write or the finish
};

// Who answers the calls of each method.
using Handler = std::function<void(std::shared_ptr<ServerCall>)>;

// One method: its handler, and who may call it at all.
struct Method {
  enum class Open : std::uint8_t {
    kToKnown,    // who has shown who it is; the handler looks at what that may do
    kToAnybody,  // health
    kToPeers,    // the handler looks whether it is one
  };
  Method(Handler a_handler, Open an_open = Open::kToKnown)  // NOLINT: implicit
      : handler(std::move(a_handler)), open(an_open) {}

  Handler handler;
  Open open;
};
using Methods = absl::flat_hash_map<std::string, Method>;

// Answers the calls of some methods. Must outlive the server that it was given to.
class Service {
 public:
  virtual ~Service() = default;
  virtual void AddTo(Methods& methods) = 0;
  // The daemon ends: what would take long is given up. Any thread, once.
  virtual void End() {}
};

// Thread safety: any thread, but for request.
class UnaryCall {
 public:
  // Takes what `request` holds.
  UnaryCall(std::shared_ptr<ServerCall> call, grpc::ByteBuffer& request)
      : asker_(call->asker()), call_(std::move(call)) {
    request_.Swap(&request);
  }

  // As ServerCall::asker.
  const trust::Asker& asker() const { return asker_; }

  // Within the handler.
  grpc::ByteBuffer& request() { return request_; }

  // Ends the call. Only the first of all of these counts, and none does when the client is gone.
  // until_sent: dropped when the answer has been sent, which takes as long as the client likes.
  void Answer(const google::protobuf::Message& response, std::shared_ptr<void> until_sent = {});
  void Fail(const Status& status);
  // Like Answer, for an answer that may be large though its request is small. It counts in
  // `answers` until it has been sent. When `answers` has no room for it, the call ends with
  // kUnavailable "overloaded". `answers` must outlive the call.
  void AnswerRead(const google::protobuf::Message& response, ByteBudget& answers);
  // The client is gone: lets go of what gRPC keeps for the call.
  void Drop() { Take(); }
  // Whether it has been answered, or the client is gone.
  bool over() const { return taken_.load(std::memory_order_relaxed); }

 private:
  // The call, for the first caller only.
  std::shared_ptr<ServerCall> Take();

  const trust::Asker asker_;
  std::atomic<bool> taken_{false};
  std::shared_ptr<ServerCall> call_;
  grpc::ByteBuffer request_;
};

// Reads the one request, then calls `handle`: on the bulk thread when the request is large. `bulk`
// must outlive the handler.
Handler RequestHandler(
    net::BulkThread& bulk,
    std::function<void(const std::shared_ptr<ServerCall>&, grpc::ByteBuffer&)> handle);
// The same for one answer, which `answer` gives at once or later.
Handler UnaryHandler(net::BulkThread& bulk,
                     std::function<void(const std::shared_ptr<UnaryCall>&)> answer);

}  // namespace podmirror::rpc
