// JsonWriter appends one JSON document to a string, token by token, without a tree: answers are
// many and may be long. RapidJSON writes them, as it reads what clients send (batch.h). Thread
// safety: none; one writer, one thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "rapidjson/writer.h"

namespace podmirror::rest {

class JsonWriter {
 public:
  // Appends to `out`, which must outlive the writer.
  explicit JsonWriter(std::string& out) : stream_{out}, writer_(stream_) {}
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  void BeginObject() { writer_.StartObject(); }
  void EndObject() { writer_.EndObject(); }
  void BeginArray() { writer_.StartArray(); }
  void EndArray() { writer_.EndArray(); }
  // Names the next value. Requires: an open object.
  void Key(std::string_view name) { writer_.Key(name.data(), Size(name)); }

  // If `text` is not UTF-8, each of its bytes above ASCII comes out as U+FFFD: the document is
  // always valid.
  void Value(std::string_view text);
  void Value(const char* text) { Value(std::string_view(text)); }
  void Value(bool flag) { writer_.Bool(flag); }
  void Value(std::signed_integral auto number) { writer_.Int64(number); }
  void Value(std::unsigned_integral auto number) { writer_.Uint64(number); }
  void Null() { writer_.Null(); }

  template <typename T>
  void Member(std::string_view name, const T& value) {
    Key(name);
    Value(value);
  }

 private:
  // An output stream, as RapidJSON wants it.
  struct Stream {
    using Ch = char;
    void Put(char c) { out.push_back(c); }
    void Flush() {}
    std::string& out;
  };

  static rapidjson::SizeType Size(std::string_view text) {
    return static_cast<rapidjson::SizeType>(text.size());
  }

  Stream stream_;
  rapidjson::Writer<Stream> writer_;
};

}  // namespace podmirror::rest
