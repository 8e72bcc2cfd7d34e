// JsonWriter appends one JSON document to a string. It is here, and not the JSON library's writer,
// because answers are small and many: no tree is built. Input is parsed by the library.
// Thread safety: none; one writer, one thread.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace podmirror::rest {

class JsonWriter {
 public:
  // Appends to `out`, which must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }
  // Names the next value. Requires: an open object; a name of ours, that needs no escapes.
  void Key(std::string_view name);

  // Bytes that are not UTF-8 come out as U+FFFD: the document is always valid.
  void Value(std::string_view text);
  void Value(const char* text) { Value(std::string_view(text)); }
  void Value(bool flag) { Raw(flag ? "true" : "false"); }
  template <std::integral T>
  void Value(T number) {
    Separate();
    absl::StrAppend(&out_, number);
    comma_ = true;
  }
  void Null() { Raw("null"); }

  template <typename T>
  void Member(std::string_view name, const T& value) {
    Key(name);
    Value(value);
  }

 private:
  void Separate() {
    if (comma_) out_.push_back(',');
  }
  void Raw(std::string_view token) {
    Separate();
    out_.append(token);
    comma_ = true;
  }
  void Open(char bracket) {
    Separate();
    out_.push_back(bracket);
    comma_ = false;
  }
  void Close(char bracket) {
    out_.push_back(bracket);
    comma_ = true;
  }

  std::string& out_;
  bool comma_ = false;  // the next value follows another one
};

}  // namespace podmirror::rest
