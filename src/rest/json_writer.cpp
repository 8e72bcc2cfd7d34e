#include "rest/json_writer.h"

#include "cache/entry.h"

namespace podmirror::rest {
namespace {

constexpr bool IsPlain(char c) {
  return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\';
}

void AppendEscape(char c, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out.append("\\\"");
      return;
    case '\\':
      out.append("\\\\");
      return;
    case '\n':
      out.append("\\n");
      return;
    case '\r':
      out.append("\\r");
      return;
    case '\t':
      out.append("\\t");
      return;
    default:
      out.append("\\u00");
      out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kHex[c & 15]);
  }
}

void AppendQuoted(std::string_view text, std::string& out) {
  const bool utf8 = IsUtf8(text);
  out.push_back('"');
  std::size_t run = 0;  // where the bytes begin that go out as they are
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool replace = !utf8 && static_cast<unsigned char>(c) >= 0x80;
    if (IsPlain(c) && !replace) continue;
    out.append(text.substr(run, i - run));
    run = i + 1;
    if (replace) {
      out.append("\xef\xbf\xbd");
    } else {
      AppendEscape(c, out);
    }
  }
  out.append(text.substr(run));
  out.push_back('"');
}

}  // namespace

void JsonWriter::Key(std::string_view name) {
  Separate();
  out_.push_back('"');
  out_.append(name).append("\":");
  comma_ = false;
}

void JsonWriter::Value(std::string_view text) {
  Separate();
  AppendQuoted(text, out_);
  comma_ = true;
}

}  // namespace podmirror::rest
