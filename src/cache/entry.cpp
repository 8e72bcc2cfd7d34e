#include "cache/entry.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "cache/malloc_bytes.h"
#include "xxhash.h"

namespace podmirror {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the packed form is little-endian and read in place");

constexpr std::size_t kHlcAt = 0;
constexpr std::size_t kOriginAt = 8;
constexpr std::size_t kTypeAt = 16;
constexpr std::size_t kValueWordAt = 20;
constexpr std::size_t kKeySizeAt = 24;
constexpr std::size_t kFixedBytes = 26;
constexpr std::size_t kExpiresBytes = 8;

// Flags share the word of the value size; bits of neither are refused, so that they can get a
// meaning later.
constexpr std::uint32_t kTombstone = 1U << 31;
constexpr std::uint32_t kExpires = 1U << 30;
constexpr std::uint32_t kSizeMask = (1U << 26) - 1;
static_assert(kMaxValueBytes <= kSizeMask);
static_assert(kMaxKeyBytes <= 0xFFFF);

template <typename T>
T Load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

template <typename T>
void Store(char* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

constexpr std::size_t KeyAt(std::uint32_t word) {
  return kFixedBytes + ((word & kExpires) != 0 ? kExpiresBytes : 0);
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

EntryRef::EntryRef(const EntryRef& other) : EntryRef(Share(other.entry_)) {}

EntryRef::~EntryRef() {
  if (entry_ == nullptr || entry_->refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  entry_->~Entry();
  std::free(const_cast<Entry*>(entry_));
}

EntryRef EntryRef::Share(const Entry* entry) {
  if (entry != nullptr) entry->refs_.fetch_add(1, std::memory_order_relaxed);
  return Adopt(entry);
}

EntryRef EntryRef::Adopt(const Entry* entry) {
  EntryRef ref;
  ref.entry_ = entry;
  return ref;
}

EntryRef Entry::Allocate(std::size_t packed_size, char*& packed) {
  void* block = std::malloc(sizeof(Entry) + packed_size);
  if (block == nullptr) std::abort();  // as operator new would end the process: nothing catches
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

const char* Entry::bytes() const { return reinterpret_cast<const char*>(this) + sizeof(Entry); }

std::int32_t Entry::type() const { return Load<std::int32_t>(bytes() + kTypeAt); }

std::string_view Entry::key() const {
  return {bytes() + KeyAt(Load<std::uint32_t>(bytes() + kValueWordAt)),
          Load<std::uint16_t>(bytes() + kKeySizeAt)};
}

std::string_view Entry::value() const {
  const std::string_view before = key();
  return {before.data() + before.size(), Load<std::uint32_t>(bytes() + kValueWordAt) & kSizeMask};
}

Version Entry::version() const {
  return {Load<std::uint64_t>(bytes() + kHlcAt), Load<std::uint64_t>(bytes() + kOriginAt)};
}

bool Entry::tombstone() const {
  return (Load<std::uint32_t>(bytes() + kValueWordAt) & kTombstone) != 0;
}

WallMs Entry::expires_at() const {
  if ((Load<std::uint32_t>(bytes() + kValueWordAt) & kExpires) == 0) return 0;
  return Load<WallMs>(bytes() + kFixedBytes);
}

std::string_view Entry::packed() const {
  const std::string_view last = value();
  return {bytes(), static_cast<std::size_t>(last.data() + last.size() - bytes())};
}

std::size_t Entry::memory_bytes() const { return MallocBytes(sizeof(Entry) + packed().size()); }

}  // namespace podmirror
