// The answer of /v1/watch: server-sent events or lines of JSON, for as long as the client reads and
// may read. Thread safety: as Stream.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/env.h"
#include "rest/http.h"
#include "rest/target.h"
#include "trust/access.h"
#include "watch/feed.h"
#include "watch/watcher.h"

namespace podmirror::rest {

// Where the watcher begins. The field Last-Event-ID counts before `since`: a browser that connects
// again sends both, and the field is newer.
watch::Start StartOf(const Request& request, const WatchQuery& query);

// How events are written, and whether in chunks: HTTP/1.0 has none.
struct WatchFormat {
  bool lines = false;  // of JSON, in place of server-sent events
  bool chunked = true;

  // What a client asks for.
  static WatchFormat Of(const Request& request);
  std::string name() const;
  std::string_view content_type() const;
  watch::Encode Encoder(std::uint64_t incarnation) const;
};

// Null when there are too many watchers.
std::shared_ptr<Stream> NewWatchStream(std::shared_ptr<watch::Feed> feed, const watch::Start& start,
                                       const WatchFormat& format, trust::Standing standing,
                                       const Env& env);

}  // namespace podmirror::rest
