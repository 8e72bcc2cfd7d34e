// Slots holds the entries of a group's 256 buckets in one block, each bucket in a row.
// A slot is 8 bytes: the entry's address (48 bits) and the low 16 bits of its key hash, so that a
// search touches only the entry that it is looking for (the high 16 bits are the bucket's own).
// One array per bucket would be simpler, but 65,536 arrays that grow in step leave behind blocks of
// sizes that nobody needs again: with a million entries, 6 bytes for each of them.
// Hashes are fixed by the protocol, so that anybody can make keys that fall into one bucket. Such a
// crowded bucket gets an index, whose hashes nobody outside knows (absl's are seeded).
// Thread safety: none; belongs to a group, under its shard's lock.
// Invariants: (1) owns one reference to each entry in it.
//             (2) the buckets' ranges do not overlap and end at or before used_ <= block_size_.
//             (3) an index maps each key of its bucket to its place; it views the entry's own key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "cache/digest.h"
#include "cache/entry.h"

namespace podmirror {

class Slots {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  Slots() = default;
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  ~Slots();

  // Buckets count from the first of the group, entries within their bucket from 0.
  std::uint32_t size(std::uint32_t bucket) const { return ranges_[bucket].size; }
  // Requires: index < size(bucket).
  const Entry& at(std::uint32_t bucket, std::uint32_t index) const {
    return *Address(block_[ranges_[bucket].begin + index]);
  }

  // As Group::Prefetch.
  void Prefetch(std::uint32_t bucket) const {
    __builtin_prefetch(&block_);
    __builtin_prefetch(&ranges_[bucket]);
  }

  // As Group::PrefetchEntry.
  void PrefetchEntry(std::uint32_t bucket, std::uint64_t key_hash) const;

  // Index of the entry of this key, or kNone.
  std::uint32_t Find(std::uint32_t bucket, std::uint64_t key_hash, std::int32_t type,
                     std::string_view key) const;

  // Requires: no entry of this key is here.
  void Add(std::uint32_t bucket, std::uint64_t key_hash, EntryRef entry);
  // Swaps `entry` with the one at `index`. Requires: both have the same key.
  void Replace(std::uint32_t bucket, std::uint32_t index, EntryRef& entry);
  // The last entry of the bucket takes the place of the removed one.
  EntryRef Remove(std::uint32_t bucket, std::uint32_t index);

  // What the block and the indexes occupy, without the entries.
  std::size_t memory_bytes() const;

 private:
  struct Range {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    std::uint32_t capacity = 0;
  };

  // Where the entries of a crowded bucket are.
  using Index = absl::flat_hash_map<std::pair<std::int32_t, std::string_view>, std::uint32_t>;

  static constexpr int kAddressBits = 48;
  static constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << kAddressBits) - 1;

  static std::uint64_t Pack(std::uint64_t tag, const Entry* entry);
  static const Entry* Address(std::uint64_t slot) {
    return reinterpret_cast<const Entry*>(slot & kAddressMask);  // NOLINT: what slots are for
  }
  // The index of a crowded bucket, or null.
  Index* IndexOf(std::uint32_t bucket);
  const Index* IndexOf(std::uint32_t bucket) const {
    return const_cast<Slots*>(this)->IndexOf(bucket);
  }
  void BuildIndex(std::uint32_t bucket);
  // Makes the full range of `bucket` longer: moves it behind the others or, when there is no room
  // left for that, everything to a new block.
  void Grow(std::uint32_t bucket);
  // Moves everything to a block of the right size; `growing` gets room for `capacity` entries.
  void Rebuild(std::uint32_t growing, std::uint32_t capacity);

  std::unique_ptr<std::uint64_t[]> block_;
  std::uint32_t block_size_ = 0;
  std::uint32_t used_ = 0;                             // from here on the block is free
  std::uint32_t held_ = 0;                             // entries in all buckets
  absl::flat_hash_map<std::uint32_t, Index> crowded_;  // by bucket
  std::array<Range, kBucketsPerGroup> ranges_;
};

}  // namespace podmirror
