#include "rpc/finish.h"

#include <cstddef>

#include "net/grpc_status.h"

namespace podmirror::rpc {
namespace {

// Answers up to this size are not counted: the call itself takes about as much.
constexpr std::size_t kSmallAnswerBytes = 8 * 1024;

class CountedRead final : public grpc::ServerUnaryReactor {
 public:
  CountedRead(ByteBudget& answers, std::size_t bytes) : answers_(answers), bytes_(bytes) {
    Finish(grpc::Status::OK);
  }
  void OnDone() override {
    answers_.Give(bytes_);
    delete this;
  }

 private:
  ByteBudget& answers_;
  const std::size_t bytes_;
};

}  // namespace

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(net::ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* FinishRead(grpc::CallbackServerContext* context, const Status& status,
                                     google::protobuf::MessageLite* response, ByteBudget& answers) {
  const std::size_t bytes = status.ok() ? response->ByteSizeLong() : 0;
  if (bytes <= kSmallAnswerBytes) return FinishNow(context, status);
  if (answers.Take(bytes)) return new CountedRead(answers, bytes);
  response->Clear();
  return FinishNow(context, {Code::kUnavailable, "overloaded"});
}

}  // namespace podmirror::rpc
