// What an HTTP request and its answer are to the rest of this folder.
// Thread safety: plain values, except Responder.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "cache/entry.h"
#include "trust/presented.h"

namespace podmirror::rest {

// Whether the two differ in the case of ASCII letters at most.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

struct Field {
  std::string_view name;   // as sent
  std::string_view value;  // without surrounding blanks
};

// A complete request. All views point into the connection's buffer and die when the handler
// returns.
struct Request {
  std::string_view method;
  std::string_view target;  // origin form, raw; "*" only for OPTIONS
  std::string_view body;    // without chunk framing
  std::vector<Field> fields;
  bool http_1_0 = false;
  bool keep_alive = true;

  // True when `field` is called `name`, in any case. Requires: `name` in lower case.
  static bool IsNamed(const Field& field, std::string_view name);
  // The first field called `name`, or null.
  const Field* Find(std::string_view name) const;
};

// The body of an answer that goes on for as long as both sides like, as it is sent: with the
// framing of chunks, if it has any. Thread safety: one call at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  using Bytes = std::shared_ptr<const std::string>;
  // The next bytes; null when there are none now. It is asked again soon if it says more(), else
  // after HttpServer::Changed, and once a second.
  virtual Bytes Next() = 0;
  virtual bool more() const = 0;
  // Nothing will come any more: End is to be sent.
  virtual bool over() = 0;
  // What ends it between two results of Next; not null.
  virtual Bytes End() = 0;
};

struct Response {
  int status = 200;
  std::string_view content_type;  // static; empty = no body
  std::string headers;            // further lines, each with its CRLF
  std::string body;
  EntryRef value;  // when set, its value is the body and is sent without a copy
  // When set, it is the body, and the last of this connection. `headers` tell its framing.
  std::shared_ptr<Stream> stream = nullptr;

  std::size_t body_size() const { return value ? value->value().size() : body.size(); }
};

enum class PortKind : std::uint8_t {
  kPlain,
  kTls,
  kHealth,  // plain, and only for requests about the daemon's health
};

// Who is at the other end of a connection.
struct Client {
  PortKind port = PortKind::kPlain;
  std::string ip;
  // What it presented; null when it presented none.
  std::shared_ptr<const trust::Presented> certificate;
};

// Takes the answer to one request, also after the handler of the request has returned without one.
class Responder {
 public:
  virtual ~Responder() = default;
  // Sends the answer from the calling thread; never blocks. Exactly once per request, from any
  // thread, maybe before the handler has returned; harmless when the client or server is gone.
  virtual void Answer(Response response) = 0;
  // Who gets it.
  virtual const Client& client() const = 0;
  // He has hung up, as far as is known: whatever waits for his sake can be given up.
  virtual bool left() const { return false; }
};

// What the field Connection of an answer says.
enum class Persistence : std::uint8_t {
  kKept,          // there is no such field: HTTP/1.1 keeps the connection without it
  kKeptBySaying,  // "keep-alive": HTTP/1.0 keeps the connection only with it
  kClosed,        // "close"
};

// Status line and header block, with the blank line. 304 carries no Content-Length.
std::string RenderHead(const Response& response, Persistence persistence, WallMs now);

}  // namespace podmirror::rest
