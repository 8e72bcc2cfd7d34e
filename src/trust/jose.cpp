#include "trust/jose.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

namespace podmirror::trust {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 16;

// The six bits that a character stands for; nothing when it is none of the alphabet.
std::optional<std::uint32_t> SixBits(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<std::uint32_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<std::uint32_t>(c - 'a' + 26);
  if (c >= '0' && c <= '9') return static_cast<std::uint32_t>(c - '0' + 52);
  if (c == '-') return 62;
  if (c == '_') return 63;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;  // the lowest `count` of them are still to be written
  int count = 0;
  for (const char c : text) {
    const std::optional<std::uint32_t> six = SixBits(c);
    if (!six) return std::nullopt;
    bits = (bits << 6 | *six) & 0xFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  // Six bits left over are a character that holds no byte.
  if (count == 6 || (bits & ((1U << count) - 1)) != 0) return std::nullopt;
  return bytes;
}

Result<json> ParseObject(std::string_view text) {
  // The parser would take a NUL for the end and not look at what follows.
  if (text.find('\0') != std::string_view::npos) return Invalid("is not JSON that can be read");
  bool too_deep = false;
  bool twice = false;
  std::vector<std::set<std::string>> names;  // of the objects that are open
  const auto keep = [&](int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    too_deep = too_deep || (opens && depth >= kMaxDepth);
    if (too_deep || twice) return false;
    if (event == Event::object_start) names.emplace_back();
    if (event == Event::object_end) names.pop_back();
    if (event == Event::key) {
      twice = !names.back().insert(parsed.get_ref<const std::string&>()).second;
    }
    return !twice;
  };
  json value = json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  if (too_deep) return Invalid("is nested too deep");
  if (twice) return Invalid("names a member twice");
  if (value.is_discarded()) return Invalid("is not JSON that can be read");
  if (!value.is_object()) return Invalid("is not an object");
  return value;
}

Result<const std::string*> TextMember(const json& object, const char* name) {
  const auto at = object.find(name);
  if (at == object.end()) return static_cast<const std::string*>(nullptr);
  if (!at->is_string()) return Invalid("\"" + std::string(name) + "\" is not a text");
  return at->get_ptr<const std::string*>();
}

}  // namespace podmirror::trust
