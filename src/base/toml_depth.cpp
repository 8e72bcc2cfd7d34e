#include "base/toml_depth.h"

#include <algorithm>
#include <string>

namespace podmirror {
namespace {

constexpr std::size_t kMaxDotsInLine = 8;

// Where the string of TOML ends that begins at `at`; the end of the text when it does not.
std::size_t EndOfString(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const std::string three(3, quote);
  const bool lines = text.substr(at).starts_with(three);
  const std::string_view mark = std::string_view(three).substr(0, lines ? 3 : 1);
  for (at += mark.size(); at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text.substr(at).starts_with(mark)) {
      at += mark.size();
      // One of several lines may have two quotes of its own right before the three that end it.
      for (int own = 0; lines && own < 2 && text.substr(at).starts_with(quote); ++own) ++at;
      return at;
    }
  }
  return text.size();
}

}  // namespace

std::size_t LineOfManyDots(std::string_view text) {
  std::size_t line = 1;
  std::size_t dots = 0;
  while (!text.empty()) {
    std::size_t size = 1;
    if (text[0] == '#') size = std::min(text.find('\n'), text.size());
    if (text[0] == '"' || text[0] == '\'') size = EndOfString(text, 0);
    if (text[0] == '.' && ++dots > kMaxDotsInLine) return line;
    const std::string_view passed = text.substr(0, size);
    const auto ends = static_cast<std::size_t>(std::count(passed.begin(), passed.end(), '\n'));
    line += ends;
    if (ends > 0) dots = 0;
    text.remove_prefix(size);
  }
  return 0;
}

}  // namespace podmirror
