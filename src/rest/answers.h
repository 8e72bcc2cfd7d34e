// Answers of the kinds that most routes give. Thread safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "rest/http.h"
#include "rest/problem.h"

namespace podmirror::rest {

inline Response Document(int status, std::string_view content_type, std::string body) {
  Response response;
  response.status = status;
  response.content_type = content_type;
  response.body = std::move(body);
  return response;
}

inline Response Text(std::string body) {
  return Document(200, "text/plain; charset=utf-8", std::move(body));
}

inline Response Json(std::string body, int status = 200) {
  return Document(status, "application/json", std::move(body));
}

// 403 when `permitted` says what is lacking; nothing when all is permitted.
inline std::optional<Response> Forbidden(const Status& permitted) {
  if (permitted.ok()) return std::nullopt;
  return ProblemResponse(Problem::kForbidden, permitted.message());
}

}  // namespace podmirror::rest
