#include "watch/event.h"

#include <charconv>

#include "absl/strings/str_cat.h"

namespace podmirror::watch {
namespace {

constexpr std::size_t kDigits = 16;

bool ParseHex(std::string_view text, std::uint64_t& number) {
  return std::from_chars(text.data(), text.data() + text.size(), number, 16).ec == std::errc();
}

}  // namespace

std::string Token::ToString() const {
  return absl::StrCat(absl::Hex(incarnation, absl::kZeroPad16), "-",
                      absl::Hex(number, absl::kZeroPad16));
}

std::optional<Token> Token::Parse(std::string_view text) {
  Token token;
  if (text.size() != 2 * kDigits + 1 || text[kDigits] != '-' ||
      !ParseHex(text.substr(0, kDigits), token.incarnation) ||
      !ParseHex(text.substr(kDigits + 1), token.number)) {
    return std::nullopt;
  }
  return token.ToString() == text ? std::optional(token) : std::nullopt;
}

std::string_view ToString(EventKind kind) {
  switch (kind) {
    case EventKind::kPut:
      return "put";
    case EventKind::kDelete:
      return "delete";
    case EventKind::kSynced:
      return "synced";
    case EventKind::kBookmark:
      return "bookmark";
    case EventKind::kReset:
      return "reset";
  }
  return "reset";
}

}  // namespace podmirror::watch
