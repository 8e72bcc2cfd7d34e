#include "trust/toml_values.h"

#include <absl/strings/ascii.h>

#include <algorithm>

#include "base/toml_depth.h"

namespace podmirror::trust {
namespace {

constexpr std::size_t kMaxShown = 60;
constexpr std::size_t kMaxReason = 160;
constexpr std::size_t kHexShown = 8;

bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }

// Makes a text of the file safe for a message: one short line of ASCII, which has no more than the
// first digits of a token's hash, wherever in the file somebody put it.
std::string Clean(std::string_view text, std::size_t longest) {
  std::string clean;
  while (!text.empty() && clean.size() < longest) {
    const auto end = std::find_if_not(text.begin(), text.end(), IsHex);
    const std::string_view digits = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    if (digits.size() > 2 * kHexShown) {
      clean.append(digits.substr(0, kHexShown)).append("...");
    } else if (!digits.empty()) {
      clean += digits;
    } else {
      clean += text[0] >= ' ' && text[0] <= '~' ? text[0] : '?';
    }
    text.remove_prefix(std::max<std::size_t>(digits.size(), 1));
  }
  if (text.empty() && clean.size() <= longest) return clean;
  return clean.substr(0, longest) + "...";
}

Status WrongAt(std::size_t line, const std::string& what) {
  return Invalid("line " + std::to_string(line) + ": " + what);
}

// A control character: one of ASCII, or one of U+0080 to U+009F, as UTF-8 has them.
bool HasControls(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(text[i]))) return true;
    if (text[i] == '\xc2' && i + 1 < text.size() && text[i + 1] <= '\x9f') return true;
  }
  return false;
}

}  // namespace

Result<toml::table> ParseToml(std::string_view text) {
  if (text.size() > kMaxTomlBytes) return Invalid("the file is larger than 1 MiB");
  if (const std::size_t line = LineOfManyDots(text); line != 0) return WrongAt(line, kManyDots);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return Wrong(error.source(), Clean(error.description(), kMaxReason));
  }
}

Status Wrong(const toml::source_region& source, const std::string& what) {
  return WrongAt(source.begin.line, what);
}

Status UnknownKey(const toml::key& key, const std::string& where) {
  return Wrong(key.source(), "unknown key " + Quoted(key.str()) + " " + where);
}

std::string Quoted(std::string_view text) { return "\"" + Clean(text, kMaxShown) + "\""; }

Status CheckText(const toml::source_region& source, const std::string& what, std::string_view text,
                 std::size_t longest) {
  if (text.empty()) return Wrong(source, what + " is empty");
  if (text.size() > longest) {
    return Wrong(source, what + " is longer than " + std::to_string(longest) + " bytes");
  }
  if (HasControls(text)) return Wrong(source, what + " holds control characters");
  return {};
}

Status TakeText(const toml::key& key, const toml::node& node, std::size_t longest,
                std::string& text) {
  const std::string what = Clean(key.str(), kMaxShown);
  const auto* given = node.as_string();
  if (given == nullptr) return Wrong(node.source(), what + " is not a text");
  text = given->get();
  return CheckText(node.source(), what, text, longest);
}

}  // namespace podmirror::trust
