#include "rest/entry_read.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/accept.h"
#include "rest/documents.h"
#include "rest/problem.h"

namespace podmirror::rest {
namespace {

std::string TagOf(const Entry& entry) {
  return absl::StrCat("\"", entry.version().ToString(), "\"");
}

}  // namespace

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

bool EntryRead::Known(const Entry& entry) const {
  const std::string tag = TagOf(entry);
  // "*", or the tag with its quotes; weak tags count, too.
  return std::any_of(none_match.begin(), none_match.end(), [&tag](const std::string& value) {
    return value == "*" || value.find(tag) != std::string::npos;
  });
}

bool EntryRead::Known(const Cache& cache, WallMs now) const {
  const EntryRef entry = cache.Find(type, key, now);
  return entry && Known(*entry);
}

Response EntryRead::Answer(const Cache& cache, WallMs now) const {
  EntryRef entry = cache.Find(type, key, now);
  if (!entry) return ProblemResponse(Problem::kNotFound, "no entry of this type and key");
  Response response;
  response.headers = absl::StrCat("ETag: ", TagOf(*entry), "\r\nVary: Accept\r\n");
  if (entry->expires_at() != 0) {
    absl::StrAppend(&response.headers, "Podmirror-Ttl-Ms: ", entry->expires_at() - now, "\r\n");
  }
  if (Known(*entry)) {
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
