// What every answer of the REST routes promises, and what a client reads out of targets and
// documents by itself, without the parsers under test.
// Thread safety: pure functions.
#pragma once

#include <absl/strings/escaping.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "cache/entry.h"
#include "fuzz/require.h"
#include "rest/http.h"

namespace podmirror::rest {

using fuzz::Require;
using nlohmann::json;

// max-key-bytes of the node under test.
inline constexpr std::size_t kKeyLimit = 32;

// --- what a client reads out of a target and a document ---

// Requires: well-formed, as it was taken.
inline std::string Decoded(std::string_view raw) {
  std::string text;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const bool escape = raw[i] == '%';
    text += escape ? static_cast<char>(std::stoi(std::string(raw.substr(i + 1, 2)), nullptr, 16))
                   : raw[i];
    if (escape) i += 2;
  }
  return text;
}

inline std::string Encoded(std::string_view text) {
  std::string raw;
  for (const char c : text) raw += "%" + absl::BytesToHexString(std::string(1, c));
  return raw;
}

struct EntryPath {
  std::int32_t type = 0;
  std::string key;
};

// Of a target that a route of entries took.
inline EntryPath PathOf(std::string_view target) {
  std::string_view path = target.substr(0, target.find('?'));
  path.remove_prefix(std::string_view("/v1/cache/").size());
  const std::size_t slash = path.find('/');
  const std::string type(path.substr(0, slash));
  EntryPath found{std::stoi(type), Decoded(path.substr(slash + 1))};
  Require(std::to_string(found.type) == type, "a type is canonical");
  Require(IsValidKey(found.key) && found.key.size() <= kKeyLimit,
          "a key is valid and within the limit");
  return found;
}

inline json Parsed(std::string_view text) {
  json document = json::parse(text.begin(), text.end(), nullptr, false);
  Require(!document.is_discarded(), "a document is JSON");
  return document;
}

// Of an entry in a document.
inline std::string ValueOf(const json& entry) {
  if (entry.contains("value")) return entry["value"];
  std::string value;
  Require(absl::Base64Unescape(entry["value_base64"].get<std::string>(), &value),
          "a value that is no text is base64");
  return value;
}

// --- what holds for every answer ---

inline void CheckHead(const Response& response) {
  const std::string head = RenderHead(response, Persistence::kKept, 0);
  Require(head.starts_with("HTTP/1.1 ") && head.ends_with("\r\n\r\n"), "a head is framed");
  std::size_t at = 0;
  for (std::size_t end = head.find("\r\n"); end + 2 < head.size(); end = head.find("\r\n", at)) {
    const std::string_view line = std::string_view(head).substr(at, end - at);
    Require(!line.empty() &&
                std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }),
            "a line of the head is printable");
    at = end + 2;
  }
}

inline void CheckProblem(const Response& response) {
  Require(response.content_type == "application/problem+json", "a refusal is a problem document");
  const json document = Parsed(response.body);
  Require(document["type"].get<std::string>().starts_with("urn:podmirror:") &&
              !document["title"].get<std::string>().empty() &&
              document["status"] == response.status && document["detail"].is_string(),
          "a problem document has its fields");
  Require((response.status == 405) == (response.headers.find("Allow: ") != std::string::npos),
          "405 says what is allowed");
}

inline void CheckAny(const Request& request, const Response& response, bool ready) {
  static const std::set<int> kStatuses = {200, 202, 304, 400, 404, 405, 413, 415, 503, 507};
  Require(kStatuses.contains(response.status), "the status is one of the contract");
  CheckHead(response);
  if (response.status >= 400) CheckProblem(response);
  if (response.content_type == "application/json") Parsed(response.body);
  const bool read = request.method == "GET" || request.method == "HEAD";
  Require(response.status != 503 || !ready, "a node that is ready answers");
  Require(response.status != 507 || !read, "a read needs no memory");
}

}  // namespace podmirror::rest
