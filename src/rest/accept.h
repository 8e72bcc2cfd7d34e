// Whether a client wants an entry as JSON or as bare bytes. Thread safety: pure functions.
#pragma once

#include "rest/http.h"

namespace podmirror::rest {

// True when Accept gives application/json a higher quality than application/octet-stream. The most
// specific range that covers a type gives its quality ("application/json" before "application/*"
// before "*/*"); the quality is 0 when no range covers it.
bool PrefersJson(const Request& request);

}  // namespace podmirror::rest
