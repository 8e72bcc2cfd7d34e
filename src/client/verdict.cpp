#include "client/verdict.h"

#include <string>
#include <string_view>

namespace podmirror::client {
namespace {

constexpr std::size_t kMaxMessageBytes = 300;

// gRPC tells a failed connect as "failed to connect to all addresses; last error: UNKNOWN:
// ipv4:10.0.0.1:7070: Failed to connect to remote host: Connection refused": the last cause says
// it all. It may be the daemon's own text, and goes to people's terminals and logs.
std::string ForPeople(std::string_view message) {
  for (const std::string_view before :
       {std::string_view("last error: "), std::string_view("remote host: ")}) {
    const std::size_t at = message.rfind(before);
    if (at != message.npos) message.remove_prefix(at + before.size());
  }
  std::string text(message.substr(0, kMaxMessageBytes));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

// What gRPC itself says when it had no connection to give the call to. Attempts before that were
// ones that it knew to have come to no server, or it would not have made another.
constexpr std::string_view kNoConnection = "failed to connect to all addresses";

// What gRPC's servers say of a call that came when they had been told to shut down: no service has
// seen it. A daemon does not shut down before it has answered all writes that it took, so none of
// those ends so.
constexpr std::string_view kNotTaken = "CANCELLED";

Verdict OfUnavailable(const std::string& message) {
  // The daemon's own words; each refusal comes before anything is applied.
  if (message == "draining") return {Outcome::kDraining, {Code::kUnavailable, message}};
  if (message == "not-ready" || message == "overloaded") {
    return {Outcome::kNotNow, {Code::kUnavailable, message}};
  }
  return {message.starts_with(kNoConnection) ? Outcome::kNotSent : Outcome::kLost,
          {Code::kUnavailable, ForPeople(message)}};
}

}  // namespace

Verdict Judge(const grpc::Status& status, bool given_up) {
  const std::string& message = status.error_message();
  const auto answered = [&](Code code) {
    return Verdict{Outcome::kAnswered, {code, ForPeople(message)}};
  };
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return {};
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return answered(Code::kInvalid);
    case grpc::StatusCode::NOT_FOUND:
      return answered(Code::kNotFound);
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return answered(Code::kRefused);
    case grpc::StatusCode::UNIMPLEMENTED:
      return answered(Code::kUnimplemented);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (message == "overloaded") return OfUnavailable(message);
      return answered(Code::kExhausted);
    case grpc::StatusCode::CANCELLED:
      if (!given_up && message == kNotTaken) {
        return {Outcome::kNotSent, {Code::kUnavailable, "its port closes"}};
      }
      return OfUnavailable(message);
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::ABORTED:
      return OfUnavailable(message);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {Outcome::kLate, {Code::kDeadline, "no answer in time"}};
    default:
      return {Outcome::kLost, {Code::kInternal, ForPeople(message)}};
  }
}

bool MayReadElsewhere(Outcome outcome) { return outcome != Outcome::kAnswered; }

bool MayWriteElsewhere(Outcome outcome) {
  return outcome == Outcome::kNotNow || outcome == Outcome::kDraining ||
         outcome == Outcome::kNotSent;
}

Status OfWrite(const Verdict& verdict) {
  const Status& status = verdict.status;
  // gRPC uses this code for its own limits too, such as that of the size of an answer.
  const bool limit = status.code() == Code::kExhausted && status.message() != "out-of-memory";
  if (verdict.outcome == Outcome::kLost || verdict.outcome == Outcome::kLate || limit) {
    return {Code::kUncertain, status.ToString()};
  }
  return status;
}

}  // namespace podmirror::client
