#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace podmirror {

std::string_view ToString(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalid:
      return "invalid";
    case Code::kNotFound:
      return "not found";
    case Code::kRefused:
      return "refused";
    case Code::kUnauthenticated:
      return "unauthenticated";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadline:
      return "deadline exceeded";
    case Code::kExhausted:
      return "exhausted";
    case Code::kUnimplemented:
      return "unimplemented";
    case Code::kInternal:
      return "internal";
    case Code::kPrecondition:
      return "precondition failed";
    case Code::kConflict:
      return "conflict";
    case Code::kUncertain:
      return "may have been applied";
  }
  return "unknown";
}

std::string Status::ToString() const {
  std::string text(podmirror::ToString(code_));
  if (!message_.empty()) text += ": " + message_;
  return text;
}

void AbortMisusedResult(const Status& status) {
  std::fprintf(stderr, "podmirror: a Result without a value was used: %s\n",
               status.ToString().c_str());
  std::abort();
}

}  // namespace podmirror
