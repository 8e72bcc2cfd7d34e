#include "rpc/server_call.h"

#include <cstddef>
#include <utility>

#include "net/grpc_status.h"

namespace podmirror::rpc {
namespace {

// Answers up to this size are not counted: the call itself takes about as much.
constexpr std::size_t kSmallAnswerBytes = 8 * 1024;

}  // namespace

void CallCount::Add(int change) {
  absl::MutexLock lock(&mu_);
  calls_ += change;
  if (calls_ == 0) none_.SignalAll();
}

bool CallCount::AwaitNone(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  // Signalled when no call is left; else the timeout ends the wait.
  while (calls_ != 0) {
    if (none_.WaitWithTimeout(&mu_, timeout)) break;
  }
  return calls_ == 0;
}

void ServerCall::Await(grpc::AsyncGenericService& service, net::Event::Reaction on_come) {
  // Before the call can come: it may be over before this thread hears of it.
  context_.AsyncNotifyWhenDone(end_.Expect([self = shared_from_this()](bool) { self->Ended(); }));
  auto come = [this, on_come = std::move(on_come)](bool ok) mutable {
    const std::shared_ptr<ServerCall> self = shared_from_this();
    if (!ok) end_.Forget();  // gRPC tells the end only of a call that came
    on_come(ok);
  };
  service.RequestCall(&context_, &stream_, queue_.queue(), queue_.queue(),
                      come_.Expect(std::move(come)));
}

void ServerCall::Ended() {
  net::Event::Reaction on_end;
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
    on_end = std::move(on_end_);
  }
  if (on_end) on_end(true);
}

void ServerCall::OnEnd(net::Event::Reaction reaction) {
  {
    absl::MutexLock lock(&mu_);
    if (!ended_) {
      on_end_ = std::move(reaction);
      return;
    }
  }
  reaction(true);
}

void ServerCall::Read(grpc::ByteBuffer* to, net::Event::Reaction reaction) {
  queue_.Start([&] { stream_.Read(to, read_.Expect(std::move(reaction))); });
}

void ServerCall::Write(const grpc::ByteBuffer& message, net::Event::Reaction reaction) {
  queue_.Start([&] { stream_.Write(message, write_.Expect(std::move(reaction))); });
}

void ServerCall::Finish(const Status& status, net::Event::Reaction reaction) {
  queue_.Start([&] { stream_.Finish(net::ToGrpc(status), write_.Expect(std::move(reaction))); });
}

void ServerCall::Finish(const Status& status) {
  Finish(status, [self = shared_from_this()](bool) {});
}

void ServerCall::WriteAndFinish(const grpc::ByteBuffer& message, net::Event::Reaction reaction) {
  queue_.Start([&] {
    stream_.WriteAndFinish(message, grpc::WriteOptions(), grpc::Status::OK,
                           write_.Expect(std::move(reaction)));
  });
}

void UnaryCall::Answer(const google::protobuf::Message& response,
                       std::shared_ptr<void> until_sent) {
  const std::shared_ptr<ServerCall> call = Take();
  if (!call) return;
  call->WriteAndFinish(ToBytes(response), [call, until_sent = std::move(until_sent)](bool) {});
}

void UnaryCall::Fail(const Status& status) {
  if (const std::shared_ptr<ServerCall> call = Take()) call->Finish(status);
}

void UnaryCall::AnswerRead(const google::protobuf::Message& response, ByteBudget& answers) {
  const std::size_t bytes = response.ByteSizeLong();
  if (bytes <= kSmallAnswerBytes) {
    Answer(response);
    return;
  }
  const std::shared_ptr<ServerCall> call = Take();
  if (!call) return;
  if (!answers.Take(bytes)) {
    call->Finish({Code::kUnavailable, "overloaded"});
    return;
  }
  call->WriteAndFinish(ToBytes(response), [call, &answers, bytes](bool) { answers.Give(bytes); });
}

std::shared_ptr<ServerCall> UnaryCall::Take() {
  if (taken_.exchange(true)) return nullptr;
  return std::move(call_);
}

Handler RequestHandler(
    net::BulkThread& bulk,
    std::function<void(const std::shared_ptr<ServerCall>&, grpc::ByteBuffer&)> handle) {
  return [&bulk, handle = std::move(handle)](const std::shared_ptr<ServerCall>& call) {
    auto request = std::make_shared<grpc::ByteBuffer>();
    grpc::ByteBuffer* const to = request.get();
    // Handlers live until the queue has been stopped.
    call->Read(to, [call, request = std::move(request), &bulk, &handle](bool ok) {
      if (!ok) {
        call->Finish({Code::kInvalid, "no request"});
      } else if (request->Length() < net::kBulkBytes) {
        handle(call, *request);
      } else {
        bulk.Post([call, request, &handle] { handle(call, *request); });
      }
    });
  };
}

Handler UnaryHandler(net::BulkThread& bulk,
                     std::function<void(const std::shared_ptr<UnaryCall>&)> answer) {
  return RequestHandler(bulk, [answer = std::move(answer)](const std::shared_ptr<ServerCall>& call,
                                                           grpc::ByteBuffer& request) {
    const auto unary = std::make_shared<UnaryCall>(call, request);
    answer(unary);
    if (!unary->over()) call->OnEnd([unary](bool) { unary->Drop(); });
  });
}

}  // namespace podmirror::rpc
