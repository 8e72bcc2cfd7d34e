// How a fuzz target says that a promise does not hold: the process ends, which libFuzzer reports
// together with the input. Thread safety: pure function.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace podmirror::fuzz {

inline void Require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", promise);
  std::abort();
}

}  // namespace podmirror::fuzz
