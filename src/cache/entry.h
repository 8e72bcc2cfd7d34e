// An Entry is one immutable, reference-counted block: header, key and value in one allocation, laid
// out to take little memory (cache/entry_layout.h). It goes over the wire in its packed form.
// A tombstone is an entry like any other.
// Thread safety: immutable after Make/Unpack; EntryRef counts atomically.
// Invariants: (1) 1 <= key size <= kMaxKeyBytes, key is UTF-8 without NUL.
//             (2) a tombstone has no value and no expiry.
//             (3) it holds the number of its origin, unless it has the whole origin.
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
#include "cache/entry_layout.h"
#include "cache/malloc_bytes.h"
#include "cache/origins.h"

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

// What Version::ToString gives; none for any other text.
std::optional<Version> ParseVersion(std::string_view text);

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

  // Completes an entry that was made with hlc 0: its place among the versions of its origin was not
  // known yet. Requires: nobody else has seen it; anything else is a broken caller and aborts.
  static void SetHlc(EntryRef& entry, std::uint64_t hlc);

  // Reads one packed entry off the front of `bytes` and moves `bytes` behind it. Null when it is
  // cut off or breaks an invariant; `bytes` is then unspecified.
  static EntryRef Unpack(std::string_view& bytes);

  std::int32_t type() const { return layout().type(block()); }
  std::string_view key() const {
    const EntryLayout& in = layout();
    return {block() + in.key_at(), in.key_size(block())};
  }
  std::string_view value() const {
    const EntryLayout& in = layout();
    return {block() + in.key_at() + in.key_size(block()), in.value_size(block())};
  }
  Version version() const { return {Load<std::uint64_t>(block() + EntryLayout::kHlcAt), origin()}; }
  std::size_t content_bytes() const {  // of key and value
    const EntryLayout& in = layout();
    return in.key_size(block()) + in.value_size(block());
  }
  bool tombstone() const { return layout().tombstone(); }
  WallMs expires_at() const {  // 0 = never
    const EntryLayout& in = layout();
    return in.expires() ? Load<WallMs>(block() + in.expires_at()) : 0;
  }
  bool expired(WallMs now) const {
    const WallMs at = expires_at();
    return at != 0 && at <= now;
  }
  std::uint64_t key_hash() const { return KeyHash(type(), key()); }

  // The wire form. Little-endian, without padding:
  //   u64 hlc | u64 origin | i32 type | u32 value size and flags | u16 key size
  //   [i64 expires_at, if flagged] | key | value
  std::size_t packed_size() const;
  // Writes it, and returns where it ends. Requires: room for packed_size().
  char* PackTo(char* to) const;
  // The part of it from `offset` on, at most `size` bytes. Requires: offset <= packed_size().
  std::string Packed(std::size_t offset = 0, std::size_t size = std::string::npos) const;

  // Bytes of memory that this entry occupies: with malloc's overhead, without the cache's slot.
  std::size_t memory_bytes() const {
    return MallocBytes(sizeof(Entry) + layout().key_at() + content_bytes());
  }

 private:
  friend class EntryRef;

  Entry() = default;
  ~Entry() = default;

  // Requires: all of it keeps the invariants. Key and value are to be written to `content`, before
  // anybody sees the entry.
  static EntryRef Build(std::int32_t type, std::size_t key_size, std::size_t value_size,
                        Version version, bool tombstone, WallMs expires_at, char*& content);
  // The last reference is gone.
  static void Free(const Entry* entry);

  // Where the shape lies, of which the layout follows.
  const char* block() const { return reinterpret_cast<const char*>(this) + sizeof(Entry); }
  const EntryLayout& layout() const {
    return EntryLayout::Of(Load<std::uint8_t>(block() + EntryLayout::kShapeAt));
  }
  std::uint64_t origin() const {
    const char* at = block() + EntryLayout::kOriginAt;
    return layout().whole_origin() ? Load<std::uint64_t>(at)
                                   : origins.at(Load<Origins::Number>(at));
  }
  template <typename T>
  static T Load(const char* at) {
    T number;
    std::memcpy(&number, at, sizeof(number));
    return number;
  }
  // Writes the packed form up to the key, and returns its size. Requires: room for kMaxHeadBytes.
  std::size_t PackHead(char* to) const;
  // Key and value, which the packed form ends with.
  std::string_view content() const { return {block() + layout().key_at(), content_bytes()}; }

  // Of all entries, whichever cache they are in: an entry does not know its cache.
  static inline constinit Origins origins;

  mutable std::atomic<std::uint32_t> refs_{1};
  // The block follows at once, unaligned.
};

EntryRef EntryRef::Share(const Entry* entry) {
  if (entry != nullptr) entry->refs_.fetch_add(1, std::memory_order_relaxed);
  return Adopt(entry);
}

void EntryRef::Drop(const Entry* entry) {
  if (entry->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) Entry::Free(entry);
}

}  // namespace podmirror
