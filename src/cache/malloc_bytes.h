// What a block costs in memory beyond the bytes asked for.
// Thread safety: a pure function.
#pragma once

#include <algorithm>
#include <cstddef>

namespace podmirror {

// What malloc(size) occupies with a 64-bit glibc: an 8-byte header, steps of 16 bytes, 32 at least.
// A formula and not malloc_usable_size, so that limits mean the same under any allocator.
constexpr std::size_t MallocBytes(std::size_t size) {
  return std::max<std::size_t>(32, (size + 8 + 15) / 16 * 16);
}

}  // namespace podmirror
