#include "cache/slots.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "cache/malloc_bytes.h"

namespace podmirror {
namespace {

static_assert(sizeof(void*) == sizeof(std::uint64_t), "a slot packs a 64-bit address");

// How far from a full bucket a free place may be: each bucket in between costs a slot to move.
constexpr std::uint32_t kReach = 16;

// How many free places a new block for so many entries has beside a sixteenth of them. They are
// what small buckets use up until the next block, so they are many as long as that costs little.
constexpr std::uint32_t FreePlaces(std::uint32_t held) {
  return std::min<std::uint32_t>(16 + held, kBucketsPerGroup);
}
// Larger than the block that Rebuild makes for so many entries, so that removals do not rebuild
// again and again.
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
    for (std::uint32_t i = 0; i < range.size; ++i) EntryRef::Adopt(Address(Load(range.begin + i)));
  }
}

Slots::Index* Slots::IndexOf(std::uint32_t bucket) {
  if (crowded_.empty()) return nullptr;
  const auto found = crowded_.find(bucket);
  return found == crowded_.end() ? nullptr : &found->second;
}

void Slots::BuildIndex(std::uint32_t bucket) {
  Index& index = crowded_[bucket];
  const Range range = ranges_[bucket];
  for (std::uint32_t place = range.begin; place < range.begin + range.size; ++place) {
    index[KeyOf(*Address(Load(place)))] = place;
  }
}

void Slots::PrefetchEntry(std::uint32_t bucket, std::uint64_t key_hash) const {
  if (IndexOf(bucket) != nullptr) return;
  const Range range = ranges_[bucket];
  const std::uint64_t tag = TagOf(key_hash);
  for (std::uint32_t i = 0; i < range.size; ++i) {
    const std::uint64_t slot = Load(range.begin + i);
    if (HasTag(slot, tag)) __builtin_prefetch(Address(slot), 1);
  }
}

std::uint32_t Slots::Find(std::uint32_t bucket, std::uint64_t key_hash, std::int32_t type,
                          std::string_view key) const {
  if (const Index* index = IndexOf(bucket)) {
    const auto found = index->find({type, key});
    return found == index->end() ? kNone : found->second - ranges_[bucket].begin;
  }
  const Range range = ranges_[bucket];
  const std::uint64_t tag = TagOf(key_hash);
  for (std::uint32_t i = 0; i < range.size; ++i) {
    const std::uint64_t slot = Load(range.begin + i);
    if (!HasTag(slot, tag)) continue;
    const Entry& entry = *Address(slot);
    if (entry.type() == type && entry.key() == key) return i;
  }
  return kNone;
}

void Slots::Add(std::uint32_t bucket, std::uint64_t key_hash, EntryRef entry) {
  MakeRoom(bucket);
  Range& range = ranges_[bucket];
  const std::uint32_t place = range.begin + range.size++;
  const Entry* added = entry.Release();
  Store(place, Pack(TagOf(key_hash), added));
  ++held_;
  if (Index* index = IndexOf(bucket)) {
    index->emplace(KeyOf(*added), place);
  } else if (range.size > Crowd(held_)) {
    BuildIndex(bucket);
  }
}

void Slots::Replace(std::uint32_t bucket, std::uint32_t index, EntryRef& entry) {
  const std::uint32_t place = ranges_[bucket].begin + index;
  const std::uint64_t slot = Load(place);
  const Entry* old = Address(slot);
  const Entry* added = entry.Release();
  Store(place, Pack(slot & ~kAddressMask, added));
  if (Index* places = IndexOf(bucket)) {
    places->erase(KeyOf(*old));
    places->emplace(KeyOf(*added), place);
  }
  entry = EntryRef::Adopt(old);
}

EntryRef Slots::Remove(std::uint32_t bucket, std::uint32_t index) {
  Range& range = ranges_[bucket];
  const std::uint32_t place = range.begin + index;
  EntryRef removed = EntryRef::Adopt(Address(Load(place)));
  if (Index* places = IndexOf(bucket)) places->erase(KeyOf(*removed));
  --range.size;
  --held_;
  if (index < range.size) Move(bucket, range.begin + range.size, place);
  if (IndexOf(bucket) != nullptr && range.size < Crowd(held_) / 2) crowded_.erase(bucket);
  if (held_ == 0 || block_size() > LargestBlock(held_)) Rebuild(kNone);
  return removed;
}

std::size_t Slots::memory_bytes() const {
  std::size_t bytes = block_ == nullptr ? 0 : MallocBytes(BlockBytes(block_size()));
  for (const auto& [bucket, index] : crowded_) {
    bytes += MallocBytes(index.capacity() * (sizeof(Index::value_type) + 1));
  }
  return bytes;
}

std::uint64_t Slots::Pack(std::uint64_t tag, const Entry* entry) {
  const auto address = reinterpret_cast<std::uint64_t>(entry);
  // Linux hands out addresses beyond 48 bits only to a program that asks for them by a hint.
  if (address % kAlignment != 0 || address / kAlignment > kAddressMask) std::abort();
  return tag | address / kAlignment;
}

void Slots::MakeRoom(std::uint32_t bucket) {
  for (std::uint32_t far = 0; far <= kReach; ++far) {
    if (bucket + far < kBucketsPerGroup && !Full(bucket + far)) {
      for (std::uint32_t i = bucket + far; i > bucket; --i) ShiftUp(i);
      return;
    }
    if (bucket >= far && !Full(bucket - far)) {
      for (std::uint32_t i = bucket - far + 1; i <= bucket; ++i) ShiftDown(i);
      return;
    }
  }
  Rebuild(bucket);
}

void Slots::ShiftUp(std::uint32_t bucket) {
  Range& range = ranges_[bucket];
  if (range.size != 0) Move(bucket, range.begin, range.begin + range.size);
  ++range.begin;
}

void Slots::ShiftDown(std::uint32_t bucket) {
  Range& range = ranges_[bucket];
  --range.begin;
  if (range.size != 0) Move(bucket, range.begin + range.size, range.begin);
}

void Slots::Move(std::uint32_t bucket, std::uint32_t from, std::uint32_t to) {
  const std::uint64_t slot = Load(from);
  Store(to, slot);
  if (Index* index = IndexOf(bucket)) (*index)[KeyOf(*Address(slot))] = to;
}

void Slots::Rebuild(std::uint32_t growing) {
  if (held_ == 0 && growing == kNone) {
    block_.reset();
    ranges_ = {};
    return;
  }
  Ranges ranges = ranges_;
  const std::uint32_t free = FreePlaces(held_);
  std::uint32_t before = 0;  // entries in the buckets before
  for (std::uint32_t i = 0; i <= kBucketsPerGroup; ++i) {
    ranges[i].begin = before + before / 16 + i * free / kBucketsPerGroup;
    before += ranges[i].size + (i == growing ? 1 : 0);
  }
  auto block = std::make_unique_for_overwrite<char[]>(BlockBytes(ranges[kBucketsPerGroup].begin));
  for (std::uint32_t i = 0; i < kBucketsPerGroup; ++i) {
    std::copy_n(block_.get() + ranges_[i].begin * kSlotBytes, ranges_[i].size * kSlotBytes,
                block.get() + ranges[i].begin * kSlotBytes);
  }
  for (auto& [bucket, index] : crowded_) {
    for (auto& [key, place] : index) place += ranges[bucket].begin - ranges_[bucket].begin;
  }
  block_ = std::move(block);
  ranges_ = ranges;
}

}  // namespace podmirror
