#include "rest/http.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace podmirror::rest {
namespace {

constexpr char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 507:
      return "Insufficient Storage";
    default:
      return "";
  }
}

// The text is kept for a whole second, because making it takes longer than the rest of a head.
const std::string& HttpDate(WallMs now) {
  thread_local std::int64_t second = -1;
  thread_local std::string text;
  if (second != now / 1000) {
    second = now / 1000;
    text = absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::FromUnixSeconds(second),
                            absl::UTCTimeZone());
  }
  return text;
}

}  // namespace

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase(absl::string_view(a.data(), a.size()),
                                absl::string_view(b.data(), b.size()));
}

bool Request::IsNamed(const Field& field, std::string_view name) {
  return field.name.size() == name.size() &&
         std::equal(name.begin(), name.end(), field.name.begin(),
                    [](char wanted, char sent) { return wanted == Lower(sent); });
}

const Field* Request::Find(std::string_view name) const {
  for (const Field& field : fields) {
    if (IsNamed(field, name)) return &field;
  }
  return nullptr;
}

std::string RenderHead(const Response& response, Persistence persistence, WallMs now) {
  std::string head;
  head.reserve(256 + response.headers.size());
  const auto append = [&head](std::string_view text) { head.append(text); };
  append("HTTP/1.1 ");
  absl::StrAppend(&head, response.status);
  append(" ");
  append(Reason(response.status));
  append("\r\nDate: ");
  append(HttpDate(now));
  // Without this field, HTTP caches on the way may keep an answer for as long as they like.
  append("\r\nCache-Control: no-cache");
  if (response.status != 304 && !response.stream) {
    append("\r\nContent-Length: ");
    absl::StrAppend(&head, response.body_size());
  }
  if (!response.content_type.empty()) {
    append("\r\nContent-Type: ");
    append(response.content_type);
  }
  append("\r\n");
  append(response.headers);
  if (persistence == Persistence::kClosed) append("Connection: close\r\n");
  if (persistence == Persistence::kKeptBySaying) append("Connection: keep-alive\r\n");
  append("\r\n");
  return head;
}

}  // namespace podmirror::rest
