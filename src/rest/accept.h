// Which of the two shapes of an entry a client wants. Thread safety: pure functions.
#pragma once

#include "rest/http.h"

namespace podmirror::rest {

// True when Accept gives application/json a higher quality than application/octet-stream. Each has
// that of the most specific range that covers it ("application/json" before "application/*" before
// "*/*"), and 0 when there is none.
bool PrefersJson(const Request& request);

}  // namespace podmirror::rest
