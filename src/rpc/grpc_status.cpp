#include "rpc/grpc_status.h"

#include <cctype>
#include <string>
#include <string_view>

namespace podmirror::rpc {
namespace {

constexpr std::size_t kMaxMessageBytes = 200;

Code FromGrpc(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return Code::kOk;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return Code::kInvalid;
    case grpc::StatusCode::NOT_FOUND:
      return Code::kNotFound;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return Code::kRefused;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
      return Code::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Code::kDeadline;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Code::kExhausted;
    case grpc::StatusCode::UNIMPLEMENTED:
      return Code::kUnimplemented;
    default:
      return Code::kInternal;
  }
}

grpc::StatusCode ToGrpc(Code code) {
  switch (code) {
    case Code::kOk:
      return grpc::StatusCode::OK;
    case Code::kInvalid:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case Code::kRefused:
      return grpc::StatusCode::PERMISSION_DENIED;
    case Code::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case Code::kDeadline:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Code::kExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::kUnimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case Code::kInternal:
    case Code::kUncertain:
      break;
  }
  return grpc::StatusCode::INTERNAL;
}

// gRPC tells a failed connect as "failed to connect to all addresses; last error: UNKNOWN:
// ipv4:10.0.0.1:7070: Failed to connect to remote host: Connection refused".
std::string ForPeople(std::string_view message) {
  for (const std::string_view before :
       {std::string_view("last error: "), std::string_view("remote host: ")}) {
    const std::size_t at = message.rfind(before);
    if (at != std::string_view::npos) message.remove_prefix(at + before.size());
  }
  // The descriptor of a connect attempt is shut down when its time is over.
  if (message.ends_with("FD Shutdown") || message.ends_with("FD shutdown")) {
    return "connect timed out";
  }
  if (message == "Socket closed" || message == "recvmsg:Connection reset by peer") {
    return "connection closed by the peer";
  }
  std::string text(message.substr(0, kMaxMessageBytes));
  // It may be the peer's own text, and it goes into logs and JSON.
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

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

Status FromGrpc(const grpc::Status& status) {
  const Code code = FromGrpc(status.error_code());
  if (code == Code::kOk) return {};
  return {code, ForPeople(status.error_message())};
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {ToGrpc(status.code()), status.message()};
}

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
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
