#include "rest/entry_read.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/accept.h"
#include "rest/documents.h"
#include "rest/problem.h"

namespace podmirror::rest {

EntryRead EntryRead::Of(const Request& request, std::int32_t type, std::string key) {
  EntryRead read{.type = type,
                 .key = std::move(key),
                 .json = Prefers(request, "application/json", "application/octet-stream"),
                 .none_match = {}};
  for (const Field& field : request.fields) {
    if (Request::IsNamed(field, "if-none-match")) read.none_match.emplace_back(field.value);
  }
  return read;
}

Response EntryRead::Answer(const Cache& cache, WallMs now) const {
  EntryRef entry = cache.Find(type, key, now);
  if (!entry) return ProblemResponse(Problem::kNotFound, "no entry of this type and key");
  const std::string etag = absl::StrCat("\"", entry->version().ToString(), "\"");
  Response response;
  response.headers = absl::StrCat("ETag: ", etag, "\r\nVary: Accept\r\n");
  if (entry->expires_at() != 0) {
    absl::StrAppend(&response.headers, "Podmirror-Ttl-Ms: ", entry->expires_at() - now, "\r\n");
  }
  // "*", or the tag with its quotes; weak tags count, too.
  const bool known = std::any_of(none_match.begin(), none_match.end(), [&](const auto& value) {
    return value == "*" || value.find(etag) != std::string::npos;
  });
  if (known) {
    response.status = 304;
  } else if (json) {
    response.content_type = "application/json";
    response.body = EntryDocument(*entry, now);
  } else {
    response.content_type = "application/octet-stream";
    response.value = std::move(entry);
  }
  return response;
}

}  // namespace podmirror::rest
