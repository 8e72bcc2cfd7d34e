#include "cache/digest.h"

#include <array>
#include <bit>

#include "xxhash.h"

namespace podmirror {

static_assert(std::endian::native == std::endian::little, "the hash is over little-endian numbers");

std::uint64_t EntryHash(std::uint64_t key_hash, Version version) {
  const std::array<std::uint64_t, 3> numbers{key_hash, version.hlc, version.origin};
  return XXH3_64bits(numbers.data(), sizeof(numbers));
}

}  // namespace podmirror
