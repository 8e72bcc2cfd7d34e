#include "cache/slots.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "cache/malloc_bytes.h"

namespace podmirror {
namespace {

static_assert(sizeof(void*) == sizeof(std::uint64_t), "a slot packs a 64-bit address");

// How much room a bucket gets. The one bucket that grows gets ample room. In a rebuild each bucket
// gets little, because there it is multiplied by the number of buckets.
constexpr std::uint32_t GrownCapacity(std::uint32_t size) { return size + 2 + size / 8; }
constexpr std::uint32_t RebuiltCapacity(std::uint32_t size) {
  return size == 0 ? 0 : size + 1 + size / 16;
}
// The size of a block with `used` slots in use. Buckets that grow are moved to its free end, until
// there is no room and everything moves to a new block. Odd sizes fill malloc's steps of 16 bytes.
constexpr std::uint32_t BlockSize(std::uint32_t used) {
  return (used + std::max<std::uint32_t>(16, used / 8)) | 1;
}
// Larger than the block that Rebuild makes for so many entries, however they are spread over the
// buckets, so that removals do not rebuild again and again.
constexpr std::uint32_t LargestBlock(std::uint32_t held) { return 2 * held + 128; }

// A bucket that holds more than this is crowded: far more than its share of all that is held, or so
// much that a search takes long.
constexpr std::uint32_t Crowd(std::uint32_t held) {
  return std::min<std::uint32_t>(1024, 128 + held / 32);
}

std::pair<std::int32_t, std::string_view> KeyOf(const Entry& entry) {
  return {entry.type(), entry.key()};
}

}  // namespace

Slots::~Slots() {
  for (const Range& range : ranges_) {
    for (std::uint32_t i = 0; i < range.size; ++i)
      EntryRef::Adopt(Address(block_[range.begin + i]));
  }
}

Slots::Index* Slots::IndexOf(std::uint32_t bucket) {
  if (crowded_.empty()) return nullptr;
  const auto found = crowded_.find(bucket);
  return found == crowded_.end() ? nullptr : &found->second;
}

void Slots::BuildIndex(std::uint32_t bucket) {
  Index& index = crowded_[bucket];
  for (std::uint32_t i = 0; i < ranges_[bucket].size; ++i) index[KeyOf(at(bucket, i))] = i;
}

void Slots::PrefetchEntry(std::uint32_t bucket, std::uint64_t key_hash) const {
  if (IndexOf(bucket) != nullptr) return;
  const Range range = ranges_[bucket];
  const std::uint64_t tag = key_hash << kAddressBits;
  for (std::uint32_t i = 0; i < range.size; ++i) {
    const std::uint64_t slot = block_[range.begin + i];
    if ((slot & ~kAddressMask) == tag) __builtin_prefetch(Address(slot), 1);
  }
}

std::uint32_t Slots::Find(std::uint32_t bucket, std::uint64_t key_hash, std::int32_t type,
                          std::string_view key) const {
  if (const Index* index = IndexOf(bucket)) {
    const auto found = index->find({type, key});
    return found == index->end() ? kNone : found->second;
  }
  const Range range = ranges_[bucket];
  const std::uint64_t tag = key_hash << kAddressBits;
  for (std::uint32_t i = 0; i < range.size; ++i) {
    const std::uint64_t slot = block_[range.begin + i];
    if ((slot & ~kAddressMask) != tag) continue;
    const Entry& entry = *Address(slot);
    if (entry.type() == type && entry.key() == key) return i;
  }
  return kNone;
}

void Slots::Add(std::uint32_t bucket, std::uint64_t key_hash, EntryRef entry) {
  Range& range = ranges_[bucket];
  if (range.size == range.capacity) Grow(bucket);
  block_[range.begin + range.size++] = Pack(key_hash << kAddressBits, entry.Release());
  ++held_;
  const std::uint32_t last = range.size - 1;
  if (Index* index = IndexOf(bucket)) {
    index->emplace(KeyOf(at(bucket, last)), last);
  } else if (range.size > Crowd(held_)) {
    BuildIndex(bucket);
  }
}

void Slots::Replace(std::uint32_t bucket, std::uint32_t index, EntryRef& entry) {
  std::uint64_t& slot = block_[ranges_[bucket].begin + index];
  const Entry* old = Address(slot);
  slot = Pack(slot & ~kAddressMask, entry.Release());
  if (Index* places = IndexOf(bucket)) {
    places->erase(KeyOf(*old));
    places->emplace(KeyOf(*Address(slot)), index);
  }
  entry = EntryRef::Adopt(old);
}

EntryRef Slots::Remove(std::uint32_t bucket, std::uint32_t index) {
  Range& range = ranges_[bucket];
  std::uint64_t& slot = block_[range.begin + index];
  EntryRef removed = EntryRef::Adopt(Address(slot));
  slot = block_[range.begin + --range.size];
  --held_;
  if (Index* places = IndexOf(bucket)) {
    places->erase(KeyOf(*removed));
    if (index < range.size) (*places)[KeyOf(*Address(slot))] = index;
    if (range.size < Crowd(held_) / 2) crowded_.erase(bucket);
  }
  if (held_ == 0 || block_size_ > LargestBlock(held_)) Rebuild(kNone, 0);
  return removed;
}

std::size_t Slots::memory_bytes() const {
  std::size_t bytes = block_size_ == 0 ? 0 : MallocBytes(block_size_ * sizeof(std::uint64_t));
  for (const auto& [bucket, index] : crowded_) {
    bytes += MallocBytes(index.capacity() * (sizeof(Index::value_type) + 1));
  }
  return bytes;
}

std::uint64_t Slots::Pack(std::uint64_t tag, const Entry* entry) {
  const auto address = reinterpret_cast<std::uint64_t>(entry);
  // Linux hands out addresses beyond 47 bits only to a program that asks for them by a hint.
  if ((address & ~kAddressMask) != 0) std::abort();
  return tag | address;
}

void Slots::Grow(std::uint32_t bucket) {
  Range& range = ranges_[bucket];
  const std::uint32_t capacity = GrownCapacity(range.size);
  if (capacity > block_size_ - used_) {
    Rebuild(bucket, capacity);
    return;
  }
  std::copy_n(block_.get() + range.begin, range.size, block_.get() + used_);
  range.begin = used_;
  range.capacity = capacity;
  used_ += capacity;
}

void Slots::Rebuild(std::uint32_t growing, std::uint32_t capacity) {
  std::array<Range, kBucketsPerGroup> ranges = ranges_;
  used_ = 0;
  for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) {
    ranges[i].begin = used_;
    ranges[i].capacity = i == growing ? capacity : RebuiltCapacity(ranges[i].size);
    used_ += ranges[i].capacity;
  }
  block_size_ = held_ == 0 && growing == kNone ? 0 : BlockSize(used_);
  auto block = std::make_unique_for_overwrite<std::uint64_t[]>(block_size_);
  for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) {
    std::copy_n(block_.get() + ranges_[i].begin, ranges_[i].size, block.get() + ranges[i].begin);
  }
  block_ = std::move(block);
  ranges_ = ranges;
}

}  // namespace podmirror
