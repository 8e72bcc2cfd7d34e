#include "client/verdict.h"

#include <absl/strings/str_replace.h>

#include <string>
#include <string_view>
#include <utility>

#include "net/grpc_status.h"

namespace podmirror::client {
namespace {

// What gRPC itself says when it had no connection to give the call to. If gRPC tried the call
// before that, it knew that the call had reached no server: else it would not have tried again.
constexpr std::string_view kNoConnection = "failed to connect to all addresses";

// What gRPC's servers say of a call that came after they were told to shut down: no service has
// seen the call. A daemon answers all writes that it took before it shuts down, so none of those
// ends like this.
constexpr std::string_view kNotTaken = "CANCELLED";

// What daemons of a version before conditions say of ACK_LEVEL_CONDITION.
constexpr std::string_view kUnknownAck = "options: unknown ack ";

// gRPC names the cause of a handshake that failed, but not so that people know what to do.
grpc::Status Plain(const grpc::Status& status) {
  const std::string& message = status.error_message();
  if (!message.starts_with(kNoConnection)) return status;
  constexpr char kBadChain[] = "SSL routines::certificate verify failed";
  return {status.error_code(),
          absl::StrReplaceAll(
              message, {{"Custom verification check failed with error: UNAUTHENTICATED: ", "TLS: "},
                        {kBadChain, std::string(kBadChain) +
                                        ": it is expired, not valid yet, or not of an authority "
                                        "that is trusted"}})};
}

Verdict OfUnavailable(const grpc::Status& status) {
  const std::string& message = status.error_message();
  // The daemon's own words; each refusal comes before anything is applied.
  if (message == "too-many-deletes") return {Outcome::kElsewhere, {Code::kUnavailable, message}};
  if (message == "draining") return {Outcome::kDraining, {Code::kUnavailable, message}};
  if (message == "not-ready" || message == "overloaded") {
    return {Outcome::kNotNow, {Code::kUnavailable, message}};
  }
  return {message.starts_with(kNoConnection) ? Outcome::kNotSent : Outcome::kLost,
          net::FromGrpc(Plain(status))};
}

}  // namespace

Verdict Judge(const grpc::Status& status, bool given_up) {
  const std::string& message = status.error_message();
  // What a daemon says of a write on a condition; others mean something else by these codes.
  if (message.starts_with("precondition-failed: ")) {
    return {Outcome::kAnswered, {Code::kPrecondition, message}};
  }
  if (message.starts_with("conflict: ")) return {Outcome::kAnswered, {Code::kConflict, message}};
  if (message.starts_with(kUnknownAck)) {
    return {Outcome::kElsewhere, {Code::kUnimplemented, "it knows no conditions"}};
  }
  Status told = net::FromGrpc(status);
  switch (told.code()) {
    case Code::kRefused:
      return {status.error_code() == grpc::StatusCode::UNAUTHENTICATED ? Outcome::kStranger
                                                                       : Outcome::kAnswered,
              std::move(told)};
    case Code::kExhausted:
      if (message == "overloaded") return {Outcome::kNotNow, {Code::kUnavailable, message}};
      return {Outcome::kAnswered, std::move(told)};
    case Code::kUnavailable:
      if (status.error_code() == grpc::StatusCode::CANCELLED && !given_up && message == kNotTaken) {
        return {Outcome::kNotSent, {Code::kUnavailable, "its port closes"}};
      }
      return OfUnavailable(status);
    case Code::kUnimplemented:
      return {Outcome::kElsewhere, std::move(told)};
    case Code::kDeadline:
      return {Outcome::kLate, {Code::kDeadline, "no answer in time"}};
    case Code::kInternal:
      return {Outcome::kLost, std::move(told)};
    default:
      return {Outcome::kAnswered, std::move(told)};
  }
}

bool MayReadElsewhere(Outcome outcome) {
  return outcome != Outcome::kAnswered && outcome != Outcome::kStranger;
}

bool MayWriteElsewhere(Outcome outcome) {
  return outcome == Outcome::kElsewhere || outcome == Outcome::kNotNow ||
         outcome == Outcome::kDraining || outcome == Outcome::kNotSent;
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
