#include "cache/entry.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "xxhash.h"

namespace podmirror {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the packed form is little-endian and read in place");

template <typename T>
void Store(char* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

}  // namespace

std::string Version::ToString() const {
  return absl::StrCat(absl::Hex(hlc, absl::kZeroPad16), "-", absl::Hex(origin, absl::kZeroPad16));
}

bool IsValidKey(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKeyBytes && key.find('\0') == key.npos && IsUtf8(key);
}

std::uint64_t KeyHash(std::int32_t type, std::string_view key) {
  std::array<char, 516> stack;
  std::string heap;
  char* joined = stack.data();
  const std::size_t size = sizeof(type) + key.size();
  if (size > stack.size()) {
    heap.resize(size);
    joined = heap.data();
  }
  Store(joined, type);
  key.copy(joined + sizeof(type), key.size());
  return XXH3_64bits(joined, size);
}

Version LegacyVersion(std::string_view value) {
  const std::uint64_t hash = XXH3_64bits(value.data(), value.size());
  return {1, hash == 0 ? 1 : hash};
}

void Entry::Free(const Entry* entry) {
  entry->~Entry();
  std::free(const_cast<Entry*>(entry));
}

EntryRef Entry::Allocate(std::size_t packed_size, char*& packed) {
  void* block = std::malloc(sizeof(Entry) + packed_size);
  if (block == nullptr) std::abort();  // an uncaught bad_alloc of operator new would do the same
  packed = static_cast<char*>(block) + sizeof(Entry);
  return EntryRef::Adopt(new (block) Entry);
}

EntryRef Entry::Build(std::int32_t type, std::string_view key, std::string_view value,
                      Version version, std::uint32_t flags, WallMs expires_at) {
  if (!IsValidKey(key) || value.size() > kMaxValueBytes || expires_at < 0) std::abort();
  const std::uint32_t word = static_cast<std::uint32_t>(value.size()) | flags;
  const std::size_t key_at = KeyAt(word);
  char* packed;
  EntryRef entry = Allocate(key_at + key.size() + value.size(), packed);
  Store(packed + kHlcAt, version.hlc);
  Store(packed + kOriginAt, version.origin);
  Store(packed + kTypeAt, type);
  Store(packed + kValueWordAt, word);
  Store(packed + kKeySizeAt, static_cast<std::uint16_t>(key.size()));
  if ((word & kExpires) != 0) Store(packed + kFixedBytes, expires_at);
  key.copy(packed + key_at, key.size());
  value.copy(packed + key_at + key.size(), value.size());
  return entry;
}

EntryRef Entry::Make(std::int32_t type, std::string_view key, std::string_view value,
                     Version version, WallMs expires_at) {
  return Build(type, key, value, version, expires_at != 0 ? kExpires : 0, expires_at);
}

EntryRef Entry::MakeTombstone(std::int32_t type, std::string_view key, Version version) {
  return Build(type, key, {}, version, kTombstone, 0);
}

EntryRef Entry::Unpack(std::string_view& bytes) {
  if (bytes.size() < kFixedBytes) return {};
  const auto word = Load<std::uint32_t>(bytes.data() + kValueWordAt);
  const std::size_t value_size = word & kSizeMask;
  if ((word & ~(kTombstone | kExpires | kSizeMask)) != 0 || value_size > kMaxValueBytes) return {};
  if ((word & kTombstone) != 0 && word != kTombstone) return {};
  const std::size_t key_at = KeyAt(word);
  const std::size_t key_size = Load<std::uint16_t>(bytes.data() + kKeySizeAt);
  const std::size_t size = key_at + key_size + value_size;
  if (bytes.size() < size || !IsValidKey(bytes.substr(key_at, key_size))) return {};
  if ((word & kExpires) != 0 && Load<WallMs>(bytes.data() + kFixedBytes) <= 0) return {};
  char* packed;
  EntryRef entry = Allocate(size, packed);
  bytes.copy(packed, size);
  bytes.remove_prefix(size);
  return entry;
}

}  // namespace podmirror
