#include "cache/entry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "xxhash.h"

namespace podmirror {
namespace {

// Of the packed form; see Entry.
constexpr std::size_t kHlcAt = 0;
constexpr std::size_t kOriginAt = 8;
constexpr std::size_t kTypeAt = 16;
constexpr std::size_t kValueWordAt = 20;
constexpr std::size_t kKeySizeAt = 24;
constexpr std::size_t kFixedBytes = 26;
constexpr std::size_t kExpiresBytes = 8;
static_assert(Entry::kMaxHeadBytes == kFixedBytes + kExpiresBytes);

// The flags share one word with the value size. A word with any other bit set is refused, so that
// these bits can get a meaning later.
constexpr std::uint32_t kTombstone = 1U << 31;
constexpr std::uint32_t kExpires = 1U << 30;
constexpr std::uint32_t kSizeMask = (1U << 26) - 1;
static_assert(kMaxValueBytes <= kSizeMask);
static_assert(kMaxKeyBytes <= 0xFFFF);

// The hlc of all values that came without a version. The origin of each is its own.
constexpr std::uint64_t kLegacyHlc = 1;

constexpr std::size_t HeadBytes(bool expires) {
  return kFixedBytes + (expires ? kExpiresBytes : 0);
}

template <typename T>
void Store(char* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

}  // namespace

std::string Version::ToString() const {
  return absl::StrCat(absl::Hex(hlc, absl::kZeroPad16), "-", absl::Hex(origin, absl::kZeroPad16));
}

std::optional<Version> ParseVersion(std::string_view text) {
  Version version;
  const auto read = [&text](std::size_t from, std::uint64_t& number) {
    const char* const end = text.data() + from + 16;
    const auto [stop, error] = std::from_chars(text.data() + from, end, number, 16);
    return error == std::errc() && stop == end;
  };
  if (text.size() != 33 || !read(0, version.hlc) || !read(17, version.origin)) return std::nullopt;
  // One text for each version: no capitals, and the dash where it belongs.
  return version.ToString() == text ? std::optional(version) : std::nullopt;
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
  return {kLegacyHlc, hash == 0 ? 1 : hash};
}

void Entry::Free(const Entry* entry) {
  entry->~Entry();
  std::free(const_cast<Entry*>(entry));
}

EntryRef Entry::Build(std::int32_t type, std::size_t key_size, std::size_t value_size,
                      Version version, bool tombstone, WallMs expires_at, char*& content) {
  const Origins::Number origin =
      version.hlc == kLegacyHlc ? Origins::kNone : origins.NumberOf(version.origin);
  const bool whole_origin = origin == Origins::kNone;
  const std::uint8_t shape =
      EntryLayout::ShapeOf({tombstone, whole_origin, type, key_size, value_size, expires_at != 0});
  const EntryLayout& layout = EntryLayout::Of(shape);
  void* memory = std::malloc(sizeof(Entry) + layout.key_at() + key_size + value_size);
  if (memory == nullptr) std::abort();  // an uncaught bad_alloc of operator new would do the same
  char* block = static_cast<char*>(memory) + sizeof(Entry);
  layout.StoreNumbers(block, type, key_size, value_size);
  Store(block + EntryLayout::kShapeAt, shape);
  Store(block + EntryLayout::kHlcAt, version.hlc);
  if (whole_origin) {
    Store(block + EntryLayout::kOriginAt, version.origin);
  } else {
    Store(block + EntryLayout::kOriginAt, origin);
  }
  if (layout.expires()) Store(block + layout.expires_at(), expires_at);
  content = block + layout.key_at();
  return EntryRef::Adopt(new (memory) Entry);
}

EntryRef Entry::Make(std::int32_t type, std::string_view key, std::string_view value,
                     Version version, WallMs expires_at) {
  if (!IsValidKey(key) || value.size() > kMaxValueBytes || expires_at < 0) std::abort();
  char* content;
  EntryRef entry = Build(type, key.size(), value.size(), version, false, expires_at, content);
  key.copy(content, key.size());
  value.copy(content + key.size(), value.size());
  return entry;
}

EntryRef Entry::MakeTombstone(std::int32_t type, std::string_view key, Version version) {
  if (!IsValidKey(key)) std::abort();
  char* content;
  EntryRef entry = Build(type, key.size(), 0, version, true, 0, content);
  key.copy(content, key.size());
  return entry;
}

void Entry::SetHlc(EntryRef& entry, std::uint64_t hlc) {
  if (entry->refs_.load(std::memory_order_relaxed) != 1 || entry->version().hlc != 0) std::abort();
  Store(const_cast<char*>(entry->block()) + EntryLayout::kHlcAt, hlc);
}

EntryRef Entry::Unpack(std::string_view& bytes) {
  if (bytes.size() < kFixedBytes) return {};
  const char* head = bytes.data();
  const auto word = Load<std::uint32_t>(head + kValueWordAt);
  const std::size_t value_size = word & kSizeMask;
  if ((word & ~(kTombstone | kExpires | kSizeMask)) != 0 || value_size > kMaxValueBytes) return {};
  if ((word & kTombstone) != 0 && word != kTombstone) return {};
  const bool expires = (word & kExpires) != 0;
  const std::size_t key_at = HeadBytes(expires);
  const std::size_t key_size = Load<std::uint16_t>(head + kKeySizeAt);
  if (bytes.size() < key_at + key_size + value_size) return {};
  if (!IsValidKey(bytes.substr(key_at, key_size))) return {};
  const WallMs expires_at = expires ? Load<WallMs>(head + kFixedBytes) : 0;
  if (expires && expires_at <= 0) return {};
  const Version version{Load<std::uint64_t>(head + kHlcAt), Load<std::uint64_t>(head + kOriginAt)};
  char* content;
  EntryRef entry = Build(Load<std::int32_t>(head + kTypeAt), key_size, value_size, version,
                         word == kTombstone, expires_at, content);
  bytes.copy(content, key_size + value_size, key_at);
  bytes.remove_prefix(key_at + key_size + value_size);
  return entry;
}

std::size_t Entry::packed_size() const { return HeadBytes(layout().expires()) + content_bytes(); }

std::size_t Entry::PackHead(char* to) const {
  const EntryLayout& in = layout();
  Store(to + kHlcAt, version().hlc);
  Store(to + kOriginAt, version().origin);
  Store(to + kTypeAt, type());
  Store(to + kValueWordAt, static_cast<std::uint32_t>(in.value_size(block())) |
                               (in.tombstone() ? kTombstone : 0) | (in.expires() ? kExpires : 0));
  Store(to + kKeySizeAt, static_cast<std::uint16_t>(in.key_size(block())));
  if (in.expires()) Store(to + kFixedBytes, expires_at());
  return HeadBytes(in.expires());
}

char* Entry::PackTo(char* to) const {
  to += PackHead(to);
  return to + content().copy(to, content_bytes());
}

std::string Entry::Packed(std::size_t offset, std::size_t size) const {
  std::array<char, kMaxHeadBytes> bytes;
  const std::string_view head(bytes.data(), PackHead(bytes.data()));
  std::string part;
  part.reserve(std::min(size, packed_size() - offset));
  if (offset < head.size()) part.append(head.substr(offset, size));
  const std::size_t skipped = std::max(offset, head.size()) - head.size();
  part.append(content().substr(skipped, size - part.size()));
  return part;
}

}  // namespace podmirror
