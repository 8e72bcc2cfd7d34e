// What became of a look at something that is read again and again. Thread safety: a plain value.
#pragma once

#include <cstdint>

namespace podmirror::trust {

enum class Looked : std::uint8_t {
  kUnchanged,
  kTaken,    // it has changed, and the new is in use
  kRefused,  // it has changed, or can no longer be read; the former stays
  kStill,    // it is as it was when it was refused last
};

}  // namespace podmirror::trust
