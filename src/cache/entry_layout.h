// EntryLayout says where the fields of an entry lie in its block. Each number takes the bytes that
// it needs and no more, and one byte, the shape, tells of all of them how many these are. In a row,
// after the count of references, little-endian and without padding:
//   u8 shape | u64 hlc | u16 number of the origin, or u64 origin | type, zigzag | key size |
//   value size | [i64 expires_at] | key | value
// A million small entries are the case that counts: type, key size and value size of theirs take a
// byte each. This is not the wire form; nobody outside this process sees it.
// Thread safety: constants.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace podmirror {

static_assert(std::endian::native == std::endian::little, "numbers are read in place");

class EntryLayout {
 public:
  static constexpr std::size_t kShapeAt = 0;
  static constexpr std::size_t kHlcAt = 1;
  static constexpr std::size_t kOriginAt = 9;
  static constexpr std::size_t kExpiresBytes = 8;

  struct Fields {
    bool tombstone;
    bool whole_origin;  // and not its number
    std::int32_t type;
    std::size_t key_size;    // at most 0xFFFF
    std::size_t value_size;  // at most 0xFFFFFFFF
    bool expires;
  };

  static constexpr std::uint8_t ShapeOf(const Fields& fields) {
    return static_cast<std::uint8_t>(
        (fields.tombstone ? kTombstone : 0) | (fields.expires ? kExpires : 0) |
        (fields.whole_origin ? kWholeOrigin : 0) | (fields.key_size > 0xFF ? kLongKey : 0) |
        Code(Zigzag(fields.type)) << kTypeShift |
        Code(static_cast<std::uint32_t>(fields.value_size)) << kValueShift);
  }
  static constexpr const EntryLayout& Of(std::uint8_t shape);

  // For the table that Of looks into.
  explicit constexpr EntryLayout(std::uint8_t shape) : shape_(shape) {
    const std::size_t type_at = kOriginAt + ((shape & kWholeOrigin) != 0 ? 8 : 2);
    const std::size_t type_bytes = BytesOf(shape >> kTypeShift & 3U);
    const std::size_t key_size_bytes = (shape & kLongKey) != 0 ? 2 : 1;
    const std::size_t value_size_bytes = BytesOf(shape >> kValueShift);
    type_ = Number::At(type_at, type_bytes);
    key_size_ = Number::At(type_at + type_bytes, key_size_bytes);
    value_size_ = Number::At(type_at + type_bytes + key_size_bytes, value_size_bytes);
    key_at_ = static_cast<std::uint8_t>(type_at + type_bytes + key_size_bytes + value_size_bytes +
                                        ((shape & kExpires) != 0 ? kExpiresBytes : 0));
  }

  bool tombstone() const { return (shape_ & kTombstone) != 0; }
  bool whole_origin() const { return (shape_ & kWholeOrigin) != 0; }
  bool expires() const { return (shape_ & kExpires) != 0; }

  // `block` is where the shape lies.
  std::int32_t type(const char* block) const { return Unzigzag(type_.Load(block)); }
  std::size_t key_size(const char* block) const { return key_size_.Load(block); }
  std::size_t value_size(const char* block) const { return value_size_.Load(block); }
  std::size_t expires_at() const { return key_at_ - kExpiresBytes; }  // Requires: expires()
  std::size_t key_at() const { return key_at_; }

  // Overwrites what lies before the numbers: it is stored after them. Requires: the shape is that
  // of these numbers.
  void StoreNumbers(char* block, std::int32_t type, std::size_t key_size,
                    std::size_t value_size) const {
    value_size_.Store(block, value_size);
    key_size_.Store(block, key_size);
    type_.Store(block, Zigzag(type));
  }

 private:
  // A number of 0 to 4 bytes. It is read and written with the bytes before it, four in all: so many
  // lie before every number but not behind, and that is cheaper than to branch on its length.
  struct Number {
    std::uint8_t four_at;
    std::uint8_t unused_bits;

    static constexpr Number At(std::size_t begin, std::size_t bytes) {
      return {static_cast<std::uint8_t>(begin + bytes - 4),
              static_cast<std::uint8_t>(32 - 8 * bytes)};
    }
    std::uint32_t Load(const char* block) const {
      std::uint32_t four;
      std::memcpy(&four, block + four_at, sizeof(four));
      return static_cast<std::uint32_t>(std::uint64_t{four} >> unused_bits);
    }
    void Store(char* block, std::uint64_t number) const {
      const auto four = static_cast<std::uint32_t>(number << unused_bits);
      std::memcpy(block + four_at, &four, sizeof(four));
    }
  };

  static constexpr std::uint8_t kTombstone = 1;
  static constexpr std::uint8_t kExpires = 2;
  static constexpr std::uint8_t kWholeOrigin = 4;
  static constexpr std::uint8_t kLongKey = 8;  // two bytes for its size
  static constexpr int kTypeShift = 4;         // two bits: a code
  static constexpr int kValueShift = 6;        // two bits: a code

  // 0, 1, 2, 3 for numbers of 0, 1, 2, 4 bytes.
  static constexpr unsigned Code(std::uint32_t number) {
    return number == 0 ? 0U : number <= 0xFF ? 1U : number <= 0xFFFF ? 2U : 3U;
  }
  static constexpr std::size_t BytesOf(unsigned code) { return (1U << code) >> 1; }

  // So that negative numbers near zero are small, too: 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
  static constexpr std::uint32_t Zigzag(std::int32_t number) {
    const auto bits = static_cast<std::uint32_t>(number);
    return bits << 1 ^ (number < 0 ? UINT32_MAX : 0);
  }
  static constexpr std::int32_t Unzigzag(std::uint32_t number) {
    return static_cast<std::int32_t>(number >> 1 ^ (0 - (number & 1)));
  }

  std::uint8_t shape_;
  std::uint8_t key_at_ = 0;
  Number type_{};
  Number key_size_{};
  Number value_size_{};
};

// Of every shape: to look one up takes less than to work it out, for each field of each entry.
inline constexpr auto kEntryLayouts = []<std::size_t... kShapes>(std::index_sequence<kShapes...>) {
  return std::array{EntryLayout(kShapes)...};
}
(std::make_index_sequence<256>());

constexpr const EntryLayout& EntryLayout::Of(std::uint8_t shape) { return kEntryLayouts[shape]; }

}  // namespace podmirror
