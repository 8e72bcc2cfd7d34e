// Slots holds the entries of a group's 256 buckets in one block, each bucket in a row.
// A slot is 7 bytes: 44 bits of the entry's address, whose other bits are 0, and the low 12 bits of
// its key hash, so that a search touches little but the entry that it is looking for (the high 16
// bits are the bucket's own).
// One array per bucket would be simpler, but 65,536 arrays that grow in step leave behind blocks of
// sizes that nobody needs again: with a million entries, 6 bytes for each of them.
// The buckets lie in order, with a free place here and there. A full bucket gets the nearest free
// place by moving each bucket in between one place along, which is to move one slot of it, since
// the order within a bucket is free. So a few free places serve all buckets.
// Hashes are fixed by the protocol, so that anybody can make keys that fall into one bucket. Such a
// crowded bucket gets an index, whose hashes nobody outside knows (absl's are seeded).
// Thread safety: none; belongs to a group, under its shard's lock.
// Invariants: (1) owns one reference to each entry in it.
//             (2) the places of a bucket end where those of the next one begin, the last bucket's
//                 where the block ends; the first `size` of them are in use.
//             (3) an index maps each key of its bucket to its place in the block; it views the
//                 entry's own key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
    return *Address(Load(ranges_[bucket].begin + index));
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
  };
  // With one more at the end, which begins where the block ends.
  using Ranges = std::array<Range, kBucketsPerGroup + 1>;

  // Where the entries of a crowded bucket are in the block.
  using Index = absl::flat_hash_map<std::pair<std::int32_t, std::string_view>, std::uint32_t>;

  static constexpr std::size_t kSlotBytes = 7;
  static constexpr std::uint64_t kAlignment = 16;  // malloc's
  static constexpr int kAddressBits = 44;
  static constexpr int kTagBits = 12;
  static constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << kAddressBits) - 1;

  static std::uint64_t TagOf(std::uint64_t key_hash) {
    return key_hash % (1U << kTagBits) << kAddressBits;
  }
  static bool HasTag(std::uint64_t slot, std::uint64_t tag) {
    return (slot & ~kAddressMask) == tag;
  }
  static std::uint64_t Pack(std::uint64_t tag, const Entry* entry);
  static const Entry* Address(std::uint64_t slot) {
    // NOLINTNEXTLINE: what slots are for
    return reinterpret_cast<const Entry*>((slot & kAddressMask) * kAlignment);
  }
  static std::size_t BlockBytes(std::uint32_t places) {
    return places * kSlotBytes + 1;  // the last slot is read as 8 bytes, too
  }
  std::uint64_t Load(std::uint32_t place) const {
    std::uint64_t slot;
    std::memcpy(&slot, block_.get() + place * kSlotBytes, sizeof(slot));
    return slot & ((std::uint64_t{1} << 8 * kSlotBytes) - 1);
  }
  void Store(std::uint32_t place, std::uint64_t slot) {
    std::memcpy(block_.get() + place * kSlotBytes, &slot, kSlotBytes);
  }
  // The index of a crowded bucket, or null.
  Index* IndexOf(std::uint32_t bucket);
  const Index* IndexOf(std::uint32_t bucket) const {
    return const_cast<Slots*>(this)->IndexOf(bucket);
  }
  void BuildIndex(std::uint32_t bucket);
  std::uint32_t block_size() const { return ranges_[kBucketsPerGroup].begin; }
  bool Full(std::uint32_t bucket) const {
    return ranges_[bucket].begin + ranges_[bucket].size == ranges_[bucket + 1].begin;
  }
  // Makes sure that `bucket` has a free place.
  void MakeRoom(std::uint32_t bucket);
  // Moves a bucket one place towards the end or the beginning. Requires: this place is free.
  void ShiftUp(std::uint32_t bucket);
  void ShiftDown(std::uint32_t bucket);
  // Puts the slot of `bucket` at the place `from` to the place `to`.
  void Move(std::uint32_t bucket, std::uint32_t from, std::uint32_t to);
  // Moves everything to a block of the right size, with a free place for `growing`.
  void Rebuild(std::uint32_t growing);

  std::unique_ptr<char[]> block_;
  std::uint32_t held_ = 0;                             // entries in all buckets
  absl::flat_hash_map<std::uint32_t, Index> crowded_;  // by bucket
  Ranges ranges_{};
};

}  // namespace podmirror
