// The answer to one GET /v1/watch, taken apart as it comes: head, chunks, and events in either
// form. For load and checks: many of them in one thread, for little CPU.
//
// Thread rule: belongs to one thread. Invariants: what an Event names lives until its callback
// returns; after Take has returned false, `error` says why and the stream is of no more use.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace bench {

struct Version {
  std::uint64_t hlc = 0;
  std::uint64_t origin = 0;
  auto operator<=>(const Version&) const = default;
};

// Texts are as JSON writes them, escapes included.
struct Event {
  std::string_view kind;
  std::string_view id;
  std::string_view type;
  std::string_view key;
  std::string_view value;  // or value_base64
  std::string_view version;
};

// Of "<16 hex digits>-<16 hex digits>"; false for anything else.
bool ReadVersion(std::string_view text, Version& version);

class WatchStream {
 public:
  using OnEvent = std::function<bool(const Event&)>;

  explicit WatchStream(OnEvent on_event) : on_event_(std::move(on_event)) {}

  // What the connection has brought. False when it is not an answer of 200 with chunks of events,
  // or the callback returned false.
  bool Take(std::string_view bytes);

  // Its head has come.
  bool begun() const { return begun_; }
  const std::string& error() const { return error_; }

 private:
  bool TakeHead(std::string_view& bytes);
  bool TakeChunkSize(std::string_view& bytes);
  bool TakeText(std::string_view text);
  bool TakeLine(std::string_view line);
  bool TakeObject(std::string_view text, Event event);
  bool Fail(std::string_view what, std::string_view where);

  OnEvent on_event_;
  bool begun_ = false;
  std::string head_;          // of the answer, then of the chunk, as far as it has come
  std::size_t in_chunk_ = 0;  // bytes of the present chunk that are to come
  std::string line_;          // the last one, which has no end yet
  std::string kind_, id_;     // of an event in the form of EventSource
  std::string error_;
};

}  // namespace bench
