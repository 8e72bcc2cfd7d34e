// Problem documents (RFC 9457): the one shape of every error answer.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "rest/http.h"

namespace podmirror::rest {

// The errors of the REST API. kRequestTimeout has the type invalid-request, but its own status.
enum class Problem : std::uint8_t {
  kUnauthorized,
  kForbidden,
  kNotFound,
  kNoSuchRoute,
  kMethodNotAllowed,
  kPreconditionFailed,
  kConflict,
  kInvalidKey,
  kInvalidType,
  kInvalidTtl,
  kInvalidQuery,
  kInvalidJson,
  kInvalidRequest,
  kRequestTimeout,
  kPreconditionUnsupported,
  kUnsupportedEncoding,
  kValueTooLarge,
  kBatchTooLarge,
  kHeadTooLarge,
  kOutOfMemory,
  kNotReady,
  kDraining,
  kOverloaded,
};

// Why a request, or a part of it, was not taken.
struct Refusal {
  Problem problem;
  std::string detail;  // for people
};

// The answer for `problem`. 401 carries WWW-Authenticate; an error that passes by itself (status
// 503) carries Retry-After.
Response ProblemResponse(Problem problem, std::string_view detail);
// With one more member: a text, or null where `text` is empty.
struct ProblemMember {
  std::string_view name;
  std::string text;
};
Response ProblemResponse(Problem problem, std::string_view detail, const ProblemMember& more);
inline Response ProblemResponse(const Refusal& refusal) {
  return ProblemResponse(refusal.problem, refusal.detail);
}

}  // namespace podmirror::rest
