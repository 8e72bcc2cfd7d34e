#include "base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace podmirror {
namespace {

// The length of the UTF-8 sequence of more than one byte at the front of `text`; 0 when there is
// none. The ranges of the second byte exclude overlong forms, surrogates and what is above
// U+10FFFF.
std::size_t SequenceLength(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length == 0 || lead > 0xF4 || text.size() < length) return 0;
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  while (!text.empty()) {
    std::uint64_t word = kHighBits;
    if (text.size() >= sizeof(word)) std::memcpy(&word, text.data(), sizeof(word));
    if ((word & kHighBits) == 0) {
      text.remove_prefix(sizeof(word));
    } else if (static_cast<unsigned char>(text[0]) < 0x80) {
      text.remove_prefix(1);
    } else {
      const std::size_t length = SequenceLength(text);
      if (length == 0) return false;
      text.remove_prefix(length);
    }
  }
  return true;
}

}  // namespace podmirror
