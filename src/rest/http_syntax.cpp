#include "rest/http_syntax.h"

#include <algorithm>
#include <array>

#include "rest/http.h"

namespace podmirror::rest {
namespace {

constexpr std::array<bool, 256> TableOf(std::string_view marks) {
  std::array<bool, 256> table{};
  for (const std::string_view chars :
       {marks,
        std::string_view("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")}) {
    for (const char c : chars) table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}

constexpr std::array<bool, 256> kTokenChars = TableOf("!#$%&'*+-.^_`|~");
// The characters of a host. The grammar allows more marks, but no host has them. One of them is the
// comma: it shows that somebody has joined two Host lines into one.
constexpr std::array<bool, 256> kNameChars = TableOf("-._~%");
constexpr std::array<bool, 256> kAddressChars = TableOf("-._~%:");

bool IsMadeOf(std::string_view text, const std::array<bool, 256>& chars) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&chars](char c) {
    return chars[static_cast<unsigned char>(c)];
  });
}

}  // namespace

bool IsToken(std::string_view text) { return IsMadeOf(text, kTokenChars); }

bool IsText(std::string_view text, bool blanks) {
  return std::all_of(text.begin(), text.end(), [blanks](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte > 0x20 && byte != 0x7f) || (blanks && (c == ' ' || c == '\t'));
  });
}

bool IsAuthority(std::string_view text) {
  const bool literal = text.starts_with('[');
  const std::size_t end = std::min(text.find(literal ? ']' : ':'), text.size());
  if (!literal && !IsMadeOf(text.substr(0, end), kNameChars)) return false;
  if (literal && (end == text.size() || !IsMadeOf(text.substr(1, end - 1), kAddressChars))) {
    return false;
  }
  std::string_view port = text.substr(literal ? end + 1 : end);
  if (port.empty()) return true;
  if (port.front() != ':') return false;
  port.remove_prefix(1);
  return std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool SplitField(std::string_view line, std::string_view& name, std::string_view& value) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  name = line.substr(0, colon);
  value = Trim(line.substr(colon + 1));
  return IsToken(name) && IsText(value, true);
}

std::string_view TakeElement(std::string_view& list, char separator) {
  std::size_t end = 0;
  bool quoted = false;
  for (; end < list.size() && (quoted || list[end] != separator); ++end) {
    if (list[end] == '"') quoted = !quoted;
    if (quoted && list[end] == '\\' && end + 1 < list.size()) ++end;
  }
  const std::string_view element = Trim(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  return element;
}

bool HoldsToken(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    if (EqualsIgnoreCase(TakeElement(list, ','), token)) return true;
  }
  return false;
}

}  // namespace podmirror::rest
