#include "rest/json_writer.h"

#include "cache/entry.h"

namespace podmirror::rest {

void JsonWriter::Value(std::string_view text) {
  if (IsUtf8(text)) {
    writer_.String(text.data(), Size(text));
    return;
  }
  std::string replaced;
  replaced.reserve(3 * text.size());
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80) {
      replaced.push_back(c);
    } else {
      replaced.append("\xef\xbf\xbd");
    }
  }
  writer_.String(replaced.data(), Size(replaced));
}

}  // namespace podmirror::rest
