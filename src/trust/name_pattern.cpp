#include "trust/name_pattern.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace podmirror::trust {
namespace {

constexpr std::size_t kMaxBytes = 2048;

std::string_view Cut(std::string_view& rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

// Part by part; as many separators in both. A part that "*" stands for is not empty.
bool MatchParts(std::string_view pattern, std::string_view name, char separator) {
  if (std::count(pattern.begin(), pattern.end(), separator) !=
      std::count(name.begin(), name.end(), separator)) {
    return false;
  }
  for (auto left = std::count(name.begin(), name.end(), separator) + 1; left > 0; --left) {
    const std::string_view wanted = Cut(pattern, separator);
    const std::string_view given = Cut(name, separator);
    if (wanted == "*" ? given.empty() : wanted != given) return false;
  }
  return true;
}

// The scheme and the authority of a URI have no wildcards: they end at the third slash.
std::size_t PathBegin(std::string_view uri) {
  const std::size_t authority = uri.find("://") + 3;
  return std::min(uri.find('/', authority), uri.size());
}

bool MatchUri(std::string_view pattern, std::string_view uri) {
  if (uri.find("://") == uri.npos) return false;
  const std::size_t path = PathBegin(pattern);
  return PathBegin(uri) == path && pattern.substr(0, path) == uri.substr(0, path) &&
         MatchParts(pattern.substr(path), uri.substr(path), '/');
}

// Why a text with "://" is no pattern; empty when it is one.
std::string UriFault(std::string_view text) {
  const std::size_t scheme = text.find("://");
  const std::size_t path = PathBegin(text);
  if (scheme == 0 || path == scheme + 3) return "is no complete URI";
  if (text.substr(0, path).find('*') != text.npos) return "has a * outside of its path";
  for (std::string_view rest = text.substr(path); !rest.empty();) {
    const std::string_view segment = Cut(rest, '/');
    if (segment != "*" && segment.find('*') != segment.npos) {
      return "has a * that is not a whole segment";
    }
  }
  return {};
}

bool IsDnsPattern(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  bool letters = false;  // an IPv4 address has none
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view label = Cut(rest, '.');
    const bool plain = std::all_of(label.begin(), label.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
    });
    if (label.empty() || (label != "*" && !plain)) return false;
    letters = letters || std::any_of(label.begin(), label.end(), [](char c) {
                return absl::ascii_isalpha(static_cast<unsigned char>(c));
              });
  }
  return letters && text.back() != '.';
}

}  // namespace

Result<NamePattern> NamePattern::Parse(std::string_view text) {
  if (text.size() > kMaxBytes) return Invalid("is longer than 2048 bytes");
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (!printable) return Invalid("holds a blank or a character that is not plain ASCII");
  if (text.find("://") != text.npos) {
    if (std::string fault = UriFault(text); !fault.empty()) return Invalid(std::move(fault));
    return NamePattern(std::string(text), true);
  }
  if (!IsDnsPattern(text)) {
    return Invalid("is neither a URI (spiffe://…) nor a DNS name; an IP address never counts");
  }
  return NamePattern(absl::AsciiStrToLower({text.data(), text.size()}), false);
}

bool NamePattern::Matches(const Names& names) const {
  if (uri_) {
    return std::any_of(names.uris.begin(), names.uris.end(),
                       [this](const std::string& uri) { return MatchUri(text_, uri); });
  }
  return std::any_of(names.dns.begin(), names.dns.end(),
                     [this](const std::string& dns) { return MatchParts(text_, dns, '.'); });
}

Result<std::vector<NamePattern>> ParseNamePatterns(const std::vector<std::string>& texts) {
  std::vector<NamePattern> patterns;
  for (const std::string& text : texts) {
    Result<NamePattern> pattern = NamePattern::Parse(text);
    if (!pattern.ok()) return Invalid("\"" + text + "\" " + pattern.status().message());
    patterns.push_back(std::move(*pattern));
  }
  return patterns;
}

bool MatchesAny(const std::vector<NamePattern>& patterns, const Names& names) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&names](const NamePattern& pattern) { return pattern.Matches(names); });
}

}  // namespace podmirror::trust
