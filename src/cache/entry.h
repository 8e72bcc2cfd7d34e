// An Entry is one immutable, reference-counted block: header, key and value in one allocation,
// laid out as it goes over the wire, so that sending it is a copy of bytes and nothing more.
// A tombstone is an entry like any other.
// Thread safety: immutable after Make/Unpack; EntryRef counts atomically.
// Invariants: (1) 1 <= key size <= kMaxKeyBytes, key is UTF-8 without NUL.
//             (2) a tombstone has no value and no expiry.
#pragma once

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/utf8.h"
#include "cache/malloc_bytes.h"

namespace podmirror {

// Constants of the protocol, not settings: a peer may send keys and values up to these sizes,
// whatever the limits in its settings are.
inline constexpr std::size_t kMaxKeyBytes = 32 * 1024;
inline constexpr std::size_t kMaxValueBytes = 48 * 1024 * 1024;

// A hybrid logical clock (48 bits of wall milliseconds, 16 bits of counter) and the origin, the
// incarnation of the daemon that wrote. The order of versions is total and the same on every pod:
// the greater one is newer. {0,0} is older than any entry.
struct Version {
  std::uint64_t hlc = 0;
  std::uint64_t origin = 0;

  friend auto operator<=>(const Version&, const Version&) = default;  // NOLINT: no literal 0 here
  // "<hlc>-<origin>", lower-case hex, 16 digits each.
  std::string ToString() const;
};

// The wall time in an hlc, in milliseconds since 1970.
constexpr WallMs WallOf(std::uint64_t hlc) { return static_cast<WallMs>(hlc >> 16); }
constexpr std::uint64_t HlcOf(WallMs wall) { return static_cast<std::uint64_t>(wall) << 16; }

// True for UTF-8 without NUL of 1..kMaxKeyBytes bytes.
bool IsValidKey(std::string_view key);

// Hash of (type, key): XXH3, fixed by the protocol, the same on every machine.
// Its top 16 bits are the entry's bucket.
std::uint64_t KeyHash(std::int32_t type, std::string_view key);

// The version of a value that came from a peer without versions: {1, XXH3 of the value, or 1 if the
// hash is 0}. It is older than every version that a clock made, and the same on all daemons.
Version LegacyVersion(std::string_view value);

class Entry;

// Shared ownership of an Entry; one pointer wide. Null when default-made.
class EntryRef {
 public:
  EntryRef() = default;
  EntryRef(const EntryRef& other) : EntryRef(Share(other.entry_)) {}
  EntryRef(EntryRef&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  EntryRef& operator=(EntryRef other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~EntryRef() {
    if (entry_ != nullptr) Drop(entry_);
  }

  explicit operator bool() const { return entry_ != nullptr; }
  const Entry* get() const { return entry_; }
  const Entry& operator*() const { return *entry_; }
  const Entry* operator->() const { return entry_; }

  // One more reference to an entry that somebody else holds. Null gives null.
  static inline EntryRef Share(const Entry* entry);

  // Adopt takes over one reference, Release gives it up: for containers that keep bare pointers.
  static EntryRef Adopt(const Entry* entry) {
    EntryRef ref;
    ref.entry_ = entry;
    return ref;
  }
  const Entry* Release() { return std::exchange(entry_, nullptr); }

 private:
  // Gives up one reference. Not null.
  static inline void Drop(const Entry* entry);

  const Entry* entry_ = nullptr;
};

class Entry {
 public:
  // The packed form without key and value, at most.
  static constexpr std::size_t kMaxHeadBytes = 34;

  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  // expires_at: absolute wall time, 0 = never. Requires: IsValidKey(key), value within
  // kMaxValueBytes, expires_at >= 0; anything else is a broken caller and aborts.
  static EntryRef Make(std::int32_t type, std::string_view key, std::string_view value,
                       Version version, WallMs expires_at = 0);
  static EntryRef MakeTombstone(std::int32_t type, std::string_view key, Version version);

  // Reads one packed entry off the front of `bytes` and moves `bytes` behind it. Null when it is
  // cut off or breaks an invariant; `bytes` is then unspecified.
  static EntryRef Unpack(std::string_view& bytes);

  std::int32_t type() const { return Load<std::int32_t>(bytes() + kTypeAt); }
  std::string_view key() const {
    return {bytes() + key_at(), Load<std::uint16_t>(bytes() + kKeySizeAt)};
  }
  std::string_view value() const {
    const std::string_view before = key();
    return {before.data() + before.size(), value_word() & kSizeMask};
  }
  Version version() const {
    return {Load<std::uint64_t>(bytes() + kHlcAt), Load<std::uint64_t>(bytes() + kOriginAt)};
  }
  bool tombstone() const { return (value_word() & kTombstone) != 0; }
  WallMs expires_at() const {  // 0 = never
    return (value_word() & kExpires) == 0 ? 0 : Load<WallMs>(bytes() + kFixedBytes);
  }
  bool expired(WallMs now) const {
    const WallMs at = expires_at();
    return at != 0 && at <= now;
  }
  std::uint64_t key_hash() const { return KeyHash(type(), key()); }

  // The wire form, valid as long as the entry. Little-endian, without padding:
  //   u64 hlc | u64 origin | i32 type | u32 value size and flags | u16 key size
  //   [i64 expires_at, if flag kExpires] | key | value
  std::string_view packed() const {
    const std::string_view last = value();
    return {bytes(), static_cast<std::size_t>(last.data() + last.size() - bytes())};
  }

  // Bytes of memory that this entry occupies: with malloc's overhead, without the cache's slot.
  std::size_t memory_bytes() const { return MallocBytes(sizeof(Entry) + packed().size()); }

 private:
  friend class EntryRef;

  static constexpr std::size_t kHlcAt = 0;
  static constexpr std::size_t kOriginAt = 8;
  static constexpr std::size_t kTypeAt = 16;
  static constexpr std::size_t kValueWordAt = 20;
  static constexpr std::size_t kKeySizeAt = 24;
  static constexpr std::size_t kFixedBytes = 26;
  static constexpr std::size_t kExpiresBytes = 8;
  static_assert(kMaxHeadBytes == kFixedBytes + kExpiresBytes);

  // The flags share one word with the value size. A word with any other bit set is refused, so that
  // these bits can get a meaning later.
  static constexpr std::uint32_t kTombstone = 1U << 31;
  static constexpr std::uint32_t kExpires = 1U << 30;
  static constexpr std::uint32_t kSizeMask = (1U << 26) - 1;
  static_assert(kMaxValueBytes <= kSizeMask);
  static_assert(kMaxKeyBytes <= 0xFFFF);

  Entry() = default;
  ~Entry() = default;

  static constexpr std::size_t KeyAt(std::uint32_t value_word) {
    return kFixedBytes + ((value_word & kExpires) != 0 ? kExpiresBytes : 0);
  }

  // A block with room for `packed_size` bytes at `packed`, to be filled before anybody sees it.
  static EntryRef Allocate(std::size_t packed_size, char*& packed);
  static EntryRef Build(std::int32_t type, std::string_view key, std::string_view value,
                        Version version, std::uint32_t flags, WallMs expires_at);
  // The last reference is gone.
  static void Free(const Entry* entry);

  const char* bytes() const { return reinterpret_cast<const char*>(this) + sizeof(Entry); }
  template <typename T>
  static T Load(const char* at) {
    T number;
    std::memcpy(&number, at, sizeof(number));
    return number;
  }
  std::uint32_t value_word() const { return Load<std::uint32_t>(bytes() + kValueWordAt); }
  std::size_t key_at() const { return KeyAt(value_word()); }

  mutable std::atomic<std::uint32_t> refs_{1};
  // The packed form follows at once, unaligned.
};

EntryRef EntryRef::Share(const Entry* entry) {
  if (entry != nullptr) entry->refs_.fetch_add(1, std::memory_order_relaxed);
  return Adopt(entry);
}

void EntryRef::Drop(const Entry* entry) {
  if (entry->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) Entry::Free(entry);
}

}  // namespace podmirror
