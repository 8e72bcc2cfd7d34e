// Which of two media types a client wants. Thread safety: pure functions.
#pragma once

#include <string_view>

#include "rest/http.h"

namespace podmirror::rest {

// True when Accept gives `type` a higher quality than `other`. The most specific range that covers
// a type gives its quality ("application/json" before "application/*" before "*/*"); the quality is
// 0 when no range covers it.
bool Prefers(const Request& request, std::string_view type, std::string_view other);

}  // namespace podmirror::rest
