#include "watch_stream.h"

#include <charconv>

namespace bench {
namespace {

// Where the string that begins at `from` ends: at its closing quote, or npos.
std::size_t EndOfString(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find('"', from); at != std::string_view::npos;
       at = text.find('"', at + 1)) {
    std::size_t slashes = 0;
    while (at - slashes > from && text[at - slashes - 1] == '\\') ++slashes;
    if (slashes % 2 == 0) return at;
  }
  return std::string_view::npos;
}

// The field of the event that has this name; null for one that nobody asks for.
std::string_view* FieldOf(Event& event, std::string_view name) {
  if (name == "event") return &event.kind;
  if (name == "id") return &event.id;
  if (name == "type") return &event.type;
  if (name == "key") return &event.key;
  if (name == "value" || name == "value_base64") return &event.value;
  if (name == "version") return &event.version;
  return nullptr;
}

}  // namespace

bool ReadVersion(std::string_view text, Version& version) {
  if (text.size() != 33 || text[16] != '-') return false;
  const auto read = [](std::string_view digits, std::uint64_t& number) {
    const char* end = digits.data() + digits.size();
    return std::from_chars(digits.data(), end, number, 16).ptr == end;
  };
  return read(text.substr(0, 16), version.hlc) && read(text.substr(17), version.origin);
}

bool WatchStream::Take(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!begun_) {
      if (!TakeHead(bytes)) return false;
    } else if (in_chunk_ == 0) {
      if (!TakeChunkSize(bytes)) return false;
    } else {
      const std::string_view text = bytes.substr(0, in_chunk_);
      bytes.remove_prefix(text.size());
      in_chunk_ -= text.size();
      if (!TakeText(text)) return false;
    }
  }
  return true;
}

bool WatchStream::TakeHead(std::string_view& bytes) {
  const std::size_t before = head_.size();
  head_.append(bytes);
  const std::size_t end = head_.find("\r\n\r\n");
  if (end == std::string::npos) {
    bytes = {};
    return head_.size() < 16384 || Fail("a long head", head_);
  }
  bytes.remove_prefix(end + 4 - before);
  head_.resize(end);
  if (!head_.starts_with("HTTP/1.1 200 ")) return Fail("refused", head_);
  if (head_.find("Transfer-Encoding: chunked") == std::string::npos) return Fail("chunks", head_);
  head_.clear();
  begun_ = true;
  return true;
}

// The line break after the former chunk is taken for a part of the size of the next one.
bool WatchStream::TakeChunkSize(std::string_view& bytes) {
  while (!bytes.empty()) {
    const char byte = bytes.front();
    bytes.remove_prefix(1);
    if (byte != '\n') {
      if (byte != '\r') head_.push_back(byte);
      if (head_.size() > 16) return Fail("the size of a chunk", head_);
    } else if (!head_.empty()) {
      const char* end = head_.data() + head_.size();
      if (std::from_chars(head_.data(), end, in_chunk_, 16).ptr != end) {
        return Fail("the size of a chunk", head_);
      }
      head_.clear();
      return in_chunk_ > 0 || Fail("the end", "");
    }
  }
  return true;
}

bool WatchStream::TakeText(std::string_view text) {
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (!line_.empty()) {
      line_.append(line);
      line = line_;
    }
    if (!TakeLine(line)) return false;
    line_.clear();
  }
  line_.append(text);
  return true;
}

bool WatchStream::TakeLine(std::string_view line) {
  if (line.starts_with('{')) return TakeObject(line, {});
  if (line.starts_with("event: ")) {
    kind_ = line.substr(7);
  } else if (line.starts_with("id: ")) {
    id_ = line.substr(4);
  } else if (line.starts_with("data: ")) {
    Event event;
    event.kind = kind_;
    event.id = id_;
    return TakeObject(line.substr(6), event);
  } else if (!line.empty() && !line.starts_with(':') && !line.starts_with("retry: ")) {
    return Fail("a line", line);
  }
  return true;
}

bool WatchStream::TakeObject(std::string_view text, Event event) {
  std::size_t at = 1;
  while (at < text.size() && text[at] == '"') {
    const std::size_t name_end = EndOfString(text, at + 1);
    if (name_end == std::string_view::npos || name_end + 2 >= text.size()) break;
    const std::string_view name = text.substr(at + 1, name_end - at - 1);
    std::size_t begin = name_end + 2;
    std::size_t end = 0;
    if (text[begin] == '"') {
      end = EndOfString(text, ++begin);
      at = end + 1;
    } else {
      end = at = text.find_first_of(",}", begin);
    }
    if (end == std::string_view::npos || at >= text.size()) break;
    if (std::string_view* field = FieldOf(event, name)) *field = text.substr(begin, end - begin);
    if (text[at] == ',') ++at;
  }
  if (at + 1 != text.size() || text[at] != '}') return Fail("an object", text);
  if (event.kind.empty() || event.id.empty()) return Fail("an event without kind or id", text);
  return on_event_(event) || Fail("an event", text);
}

bool WatchStream::Fail(std::string_view what, std::string_view where) {
  if (error_.empty()) error_ = std::string(what) + ": " + std::string(where.substr(0, 300));
  return false;
}

}  // namespace bench
