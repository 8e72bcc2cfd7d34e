#include "rest/watch_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/accept.h"
#include "rest/documents.h"
#include "rest/json_writer.h"

namespace podmirror::rest {
namespace {

// When it has lost the connection, a browser waits for so many milliseconds.
constexpr std::string_view kPrelude = "retry: 1000\n\n";

void WriteMembers(const watch::Event& event, WallMs now, JsonWriter& json) {
  if (!event.entry) return;
  json.Member("type", event.entry->type());
  if (event.kind == watch::EventKind::kPut) {
    WriteEntryMembers(*event.entry, now, json);
    return;
  }
  json.Member("key", event.entry->key());
  json.Member("version", event.entry->version().ToString());
  json.Member("reason", event.expired ? "expired" : "deleted");
}

void AppendServerSent(const watch::Event& event, const std::string& id, WallMs now,
                      std::string& out) {
  absl::StrAppend(&out, "id: ", id, "\nevent: ", std::string(ToString(event.kind)), "\ndata: ");
  JsonWriter json(out);
  json.BeginObject();
  WriteMembers(event, now, json);
  json.EndObject();
  out += "\n\n";
}

void AppendLine(const watch::Event& event, const std::string& id, WallMs now, std::string& out) {
  JsonWriter json(out);
  json.BeginObject();
  json.Member("event", ToString(event.kind));
  json.Member("id", id);
  WriteMembers(event, now, json);
  json.EndObject();
  out += "\n";
}

std::string Framed(std::string bytes, bool chunked) {
  if (!chunked) return bytes;
  return absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n");
}

class WatchStream final : public Stream {
 public:
  WatchStream(std::unique_ptr<watch::Watcher> watcher, const WatchFormat& format,
              trust::Standing standing, const Env& env)
      : watcher_(std::move(watcher)),
        format_(format),
        standing_(std::move(standing)),
        env_(env),
        prelude_(!format.lines) {}

  Bytes Next() override {
    if (std::exchange(prelude_, false)) {
      return std::make_shared<const std::string>(Framed(std::string(kPrelude), format_.chunked));
    }
    const watch::PartRef part = watcher_->Next(env_.now());
    return part ? Bytes(part, &part->bytes()) : nullptr;
  }
  bool more() const override { return watcher_->more(); }
  bool over() override { return !standing_.Holds(env_.now().steady); }
  Bytes End() override {
    return std::make_shared<const std::string>(format_.chunked ? "0\r\n\r\n" : "");
  }

 private:
  const std::unique_ptr<watch::Watcher> watcher_;
  const WatchFormat format_;
  trust::Standing standing_;
  const Env& env_;
  bool prelude_;  // still to be sent
};

}  // namespace

watch::Start StartOf(const Request& request, const WatchQuery& query) {
  watch::Start start;
  start.initial = query.initial;
  start.resume = query.since.has_value();
  if (query.since) start.since = watch::Token::Parse(*query.since);
  if (const Field* field = request.Find("last-event-id")) {
    start.resume = true;
    start.since = watch::Token::Parse(field->value);
  }
  return start;
}

WatchFormat WatchFormat::Of(const Request& request) {
  return {.lines = Prefers(request, "application/x-ndjson", "text/event-stream"),
          .chunked = !request.http_1_0};
}

std::string WatchFormat::name() const {
  return absl::StrCat(lines ? "lines" : "events", chunked ? " in chunks" : "");
}

std::string_view WatchFormat::content_type() const {
  return lines ? "application/x-ndjson" : "text/event-stream";
}

watch::Encode WatchFormat::Encoder(std::uint64_t incarnation) const {
  return [incarnation, append = lines ? AppendLine : AppendServerSent, chunked = chunked](
             std::span<const watch::Event> events, WallMs now) {
    std::string bytes;
    for (const watch::Event& event : events) {
      append(event, watch::Token{incarnation, event.number}.ToString(), now, bytes);
    }
    return Framed(std::move(bytes), chunked);
  };
}

std::shared_ptr<Stream> NewWatchStream(std::shared_ptr<watch::Feed> feed, const watch::Start& start,
                                       const WatchFormat& format, trust::Standing standing,
                                       const Env& env) {
  auto watcher = watch::Watcher::Open(std::move(feed), start, env.now());
  if (!watcher) return nullptr;
  return std::make_shared<WatchStream>(std::move(watcher), format, std::move(standing), env);
}

}  // namespace podmirror::rest
