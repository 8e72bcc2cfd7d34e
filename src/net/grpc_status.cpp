#include "net/grpc_status.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace podmirror::net {
namespace {

constexpr std::size_t kMaxTextBytes = 200;

// For each code of ours gRPC's own comes first; further ones of gRPC mean the same to us.
constexpr std::pair<Code, grpc::StatusCode> kCodes[] = {
    {Code::kOk, grpc::StatusCode::OK},
    {Code::kInvalid, grpc::StatusCode::INVALID_ARGUMENT},
    {Code::kInvalid, grpc::StatusCode::OUT_OF_RANGE},
    {Code::kNotFound, grpc::StatusCode::NOT_FOUND},
    {Code::kRefused, grpc::StatusCode::PERMISSION_DENIED},
    {Code::kRefused, grpc::StatusCode::UNAUTHENTICATED},
    {Code::kRefused, grpc::StatusCode::FAILED_PRECONDITION},
    {Code::kUnavailable, grpc::StatusCode::UNAVAILABLE},
    {Code::kUnavailable, grpc::StatusCode::CANCELLED},
    {Code::kUnavailable, grpc::StatusCode::ABORTED},
    {Code::kDeadline, grpc::StatusCode::DEADLINE_EXCEEDED},
    {Code::kExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED},
    {Code::kUnimplemented, grpc::StatusCode::UNIMPLEMENTED},
    // Only for what we answer: what we are told is above.
    {Code::kUnauthenticated, grpc::StatusCode::UNAUTHENTICATED},
    {Code::kPrecondition, grpc::StatusCode::FAILED_PRECONDITION},
    {Code::kConflict, grpc::StatusCode::ABORTED},
};

Code FromGrpc(grpc::StatusCode code) {
  for (const auto& [ours, theirs] : kCodes) {
    if (theirs == code) return ours;
  }
  return Code::kInternal;
}

grpc::StatusCode ToGrpc(Code code) {
  for (const auto& [ours, theirs] : kCodes) {
    if (ours == code) return theirs;
  }
  return grpc::StatusCode::INTERNAL;
}

// gRPC tells a failed connect as "failed to connect to all addresses; last error: UNKNOWN:
// ipv4:10.0.0.1:7070: Failed to connect to remote host: Connection refused", or with "Ssl handshake
// failed: SSL_ERROR_SSL: error:0A000086:SSL routines::certificate verify failed" in its last part.
std::string_view LastCause(std::string_view message) {
  constexpr std::string_view kLast = "last error: ";
  if (const std::size_t at = message.rfind(kLast); at != message.npos) {
    message.remove_prefix(at + kLast.size());
    for (int i = 0; i < 2; ++i) {  // the code and the address
      const std::size_t end = message.find(": ");
      if (end != message.npos) message.remove_prefix(end + 2);
    }
  }
  constexpr std::string_view kConnect = "Failed to connect to remote host: ";
  if (message.starts_with(kConnect)) message.remove_prefix(kConnect.size());
  return message;
}

std::string ForPeople(std::string_view message) {
  message = LastCause(message);
  // The descriptor of a connect attempt is shut down when its time is over.
  if (message == "FD Shutdown" || message == "FD shutdown") return "connect timed out";
  if (message == "Socket closed" || message == "recvmsg:Connection reset by peer") {
    return "connection closed by the peer";
  }
  std::string text;
  constexpr std::string_view kReason = "SSL routines::";
  if (const std::size_t at = message.find(kReason); at != message.npos) {
    text = "TLS: ";
    message.remove_prefix(at + kReason.size());
  } else if (message.size() > 1 && absl::ascii_islower(message[1])) {
    text.push_back(absl::ascii_tolower(message[0]));
    message.remove_prefix(1);
  }
  text += message;
  text.resize(std::min(text.size(), kMaxTextBytes));
  // The text may come from the other side, and it goes into logs and JSON.
  for (char& c : text) {
    if (!absl::ascii_isprint(c)) c = '?';
  }
  return text;
}

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

}  // namespace podmirror::net
