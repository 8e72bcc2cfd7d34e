#include "cache/entry.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cache/digest.h"

namespace podmirror {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr Version kVersion{0x0102030405060708, 0x1112131415161718};

// The fixed part, as laid down in the header.
std::string Head(std::uint32_t word, std::uint16_t key_size) {
  std::string head =
      "\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\xfe\xff\xff\xff"s;
  for (int i = 0; i < 4; ++i) head += static_cast<char>(word >> (8 * i));
  for (int i = 0; i < 2; ++i) head += static_cast<char>(key_size >> (8 * i));
  return head;
}

EntryRef UnpackWhole(std::string_view bytes) {
  EntryRef entry = Entry::Unpack(bytes);
  if (entry) CHECK(bytes.empty());
  return entry;
}

TEST_CASE("an entry gives back what it was made of") {
  const EntryRef entry = Entry::Make(-2, "key", "value"sv, kVersion, 1234567890123);
  CHECK(entry->type() == -2);
  CHECK(entry->key() == "key");
  CHECK(entry->value() == "value");
  CHECK(entry->version() == kVersion);
  CHECK_FALSE(entry->tombstone());
  CHECK(entry->expires_at() == 1234567890123);
  CHECK_FALSE(entry->expired(1234567890122));
  CHECK(entry->expired(1234567890123));

  const EntryRef plain = Entry::Make(1, "k", "", kVersion);
  CHECK(plain->value().empty());
  CHECK(plain->expires_at() == 0);
  CHECK_FALSE(plain->expired(std::numeric_limits<WallMs>::max()));

  const EntryRef tombstone = Entry::MakeTombstone(1, "k", kVersion);
  CHECK(tombstone->tombstone());
  CHECK(tombstone->value().empty());
  CHECK(tombstone->expires_at() == 0);
}

TEST_CASE("an entry that was made without an hlc is as others are once it has one") {
  EntryRef entry = Entry::Make(-2, "key", "value", {0, kVersion.origin}, 1234567890123);
  Entry::SetHlc(entry, kVersion.hlc);
  CHECK(entry->version() == kVersion);
  CHECK(entry->Packed() == Entry::Make(-2, "key", "value", kVersion, 1234567890123)->Packed());
  EntryRef tombstone = Entry::MakeTombstone(1, "k", {0, kVersion.origin});
  Entry::SetHlc(tombstone, kVersion.hlc);
  CHECK(tombstone->Packed() == Entry::MakeTombstone(1, "k", kVersion)->Packed());
}

TEST_CASE("values may hold any bytes") {
  std::string value;
  for (int i = 0; i < 256; ++i) value += static_cast<char>(i);
  const EntryRef entry = Entry::Make(0, "k", value, kVersion);
  CHECK(entry->value() == value);
  CHECK(UnpackWhole(entry->Packed())->value() == value);
}

TEST_CASE("references share one entry") {
  EntryRef a = Entry::Make(1, "k", "v", kVersion);
  EntryRef b = a;
  CHECK(a.get() == b.get());
  const EntryRef c = std::move(a);
  a = c;
  a = {};
  b = {};
  CHECK(c->value() == "v");
  const Entry* bare = EntryRef(c).Release();
  CHECK(EntryRef::Share(bare).get() == c.get());
  CHECK(EntryRef::Adopt(bare).get() == c.get());
  CHECK_FALSE(EntryRef::Share(nullptr));
}

TEST_CASE("the packed form is fixed by the protocol") {
  CHECK(Entry::Make(-2, "key", "value"sv, kVersion)->Packed() == Head(5, 3) + "keyvalue");
  CHECK(Entry::MakeTombstone(-2, "key", kVersion)->Packed() == Head(0x80000000, 3) + "key");
  CHECK(Entry::Make(-2, "key", "value"sv, kVersion, 0x0807060504030201)->Packed() ==
        Head(0x40000005, 3) + "\x01\x02\x03\x04\x05\x06\x07\x08" + "keyvalue");
}

TEST_CASE("hashes are fixed by the protocol") {
  // Made with libxxhash from Python, over the concatenated bytes.
  CHECK(KeyHash(1, "k") == 0x0e7a9cb7537ad734);
  CHECK(KeyHash(-1, "key") == 0x796a83b07d1c0956);
  CHECK(KeyHash(std::numeric_limits<std::int32_t>::max(), "schl\xc3\xbcssel") ==
        0xdb8ca6524e3f13c6);
  CHECK(KeyHash(std::numeric_limits<std::int32_t>::min(), std::string(512, 'x')) ==
        0x3528f4e42f8d1ae2);
  CHECK(KeyHash(7, std::string(513, 'y')) == 0x8e3fe76e7a5c3a47);
  CHECK(KeyHash(7, std::string(kMaxKeyBytes, 'z')) == 0x4fd02c2d90a925dd);
  CHECK(Entry::Make(-1, "key", "any", kVersion)->key_hash() == KeyHash(-1, "key"));
  CHECK(BucketOf(KeyHash(1, "k")) == 0x0e7a);
  CHECK(GroupOf(BucketOf(KeyHash(1, "k"))) == 0x0e);
  CHECK(EntryHash(0, {0, 0}) == 0x743df94ee4c78a2a);
  CHECK(EntryHash(KeyHash(1, "k"), {0x0123456789abcdef, 0xfedcba9876543210}) == 0xf28f7cfc6f0d32a9);
}

TEST_CASE("a version prints as two numbers of 16 hex digits") {
  CHECK(Version{}.ToString() == "0000000000000000-0000000000000000");
  CHECK(Version{0x0123456789ABCDEF, 0xA}.ToString() == "0123456789abcdef-000000000000000a");
}

TEST_CASE("versions are ordered by hlc, then origin") {
  CHECK(Version{1, 9} < Version{2, 0});
  CHECK(Version{2, 0} < Version{2, 1});
  CHECK(Version{0, 0} < Version{0, 1});
  CHECK(Version{std::numeric_limits<std::uint64_t>::max(), 0} > Version{1, 1});
  CHECK(WallOf(HlcOf(1700000000123) + 0xFFFF) == 1700000000123);
}

TEST_CASE("keys are UTF-8 without NUL") {
  for (const std::string& good :
       {"a"s, "key with spaces/and%signs"s, "\x01\x7f"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s,
        "\xed\x9f\xbf"s, "\xee\x80\x80"s, "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s,
        "12345678\xc3\xbc"s, "1234567\xc3\xbc"s, std::string(kMaxKeyBytes, 'k')}) {
    CAPTURE(good.substr(0, 40));
    CHECK(IsValidKey(good));
  }
  for (const std::string& bad : {""s, "\0"s, "abcdefgh\0"s, std::string(kMaxKeyBytes + 1, 'k')}) {
    CAPTURE(bad.substr(0, 40));
    CHECK_FALSE(IsValidKey(bad));
  }
  // A continuation alone, overlong forms, surrogates, beyond U+10FFFF, bytes that never occur, and
  // every kind of cut-off.
  for (const std::string& bad : {"\x80"s,
                                 "\xbf"s,
                                 "\xc0\x80"s,
                                 "\xc1\xbf"s,
                                 "\xe0\x80\x80"s,
                                 "\xe0\x9f\xbf"s,
                                 "\xf0\x80\x80\x80"s,
                                 "\xf0\x8f\xbf\xbf"s,
                                 "\xed\xa0\x80"s,
                                 "\xed\xbf\xbf"s,
                                 "\xf4\x90\x80\x80"s,
                                 "\xf5\x80\x80\x80"s,
                                 "\xf8\x88\x80\x80\x80"s,
                                 "\xfe"s,
                                 "\xff"s,
                                 "\xc3"s,
                                 "\xe2\x82"s,
                                 "\xe2"s,
                                 "\xf0\x9f\x98"s,
                                 "\xf0\x9f"s,
                                 "\xf0"s,
                                 "\xc3\xc3"s,
                                 "\xe2\x82\x41"s,
                                 "\xf0\x9f\x98\x41"s}) {
    CAPTURE(bad);
    CHECK_FALSE(IsUtf8(bad));
    CHECK_FALSE(IsValidKey("12345678" + bad + "12345678"));
  }
  CHECK(IsUtf8(""));
  CHECK(IsUtf8("\0"s));
}

TEST_CASE("unpacking reads one entry off the front") {
  const EntryRef first = Entry::Make(1, "k", "value"sv, kVersion, 99);
  const EntryRef second = Entry::MakeTombstone(2, "l", kVersion);
  const std::string both = std::string(first->Packed()) + std::string(second->Packed());
  std::string_view bytes = both;
  CHECK(Entry::Unpack(bytes)->Packed() == first->Packed());
  CHECK(Entry::Unpack(bytes)->Packed() == second->Packed());
  CHECK(bytes.empty());
  CHECK_FALSE(Entry::Unpack(bytes));
}

TEST_CASE("unpacking refuses what breaks an invariant") {
  const std::string minute = "\x60\xea\0\0\0\0\0\0"s;
  REQUIRE(UnpackWhole(Head(5, 3) + "keyvalue"));
  REQUIRE(UnpackWhole(Head(0x40000005, 3) + minute + "keyvalue"));
  REQUIRE(UnpackWhole(Head(0x80000000, 3) + "key"));

  CHECK_FALSE(UnpackWhole(Head(5, 0) + "value"));                  // no key
  CHECK_FALSE(UnpackWhole(Head(5, 3) + "k\0yvalue"s));             // NUL
  CHECK_FALSE(UnpackWhole(Head(5, 3) + "k\xffyvalue"));            // not UTF-8
  CHECK_FALSE(UnpackWhole(Head(0x80000005, 3) + "keyvalue"));      // tombstone with a value
  CHECK_FALSE(UnpackWhole(Head(0xC0000000, 3) + minute + "key"));  // tombstone that expires
  CHECK_FALSE(UnpackWhole(Head(0x40000005, 3) + "\0\0\0\0\0\0\0\0keyvalue"s));  // expires at 0
  CHECK_FALSE(UnpackWhole(Head(0x40000005, 3) + std::string(8, '\xff') + "keyvalue"));  // at -1
  CHECK_FALSE(
      UnpackWhole(Head(5, kMaxKeyBytes + 1) + std::string(kMaxKeyBytes + 1, 'k') + "value"));
  for (int bit = 26; bit < 30; ++bit) {
    CAPTURE(bit);
    CHECK_FALSE(UnpackWhole(Head(5U | 1U << bit, 3) + "keyvalue"));
  }
}

TEST_CASE("the largest key and value pass, one byte more of value does not") {
  const std::string key(kMaxKeyBytes, 'k');
  std::string value(kMaxValueBytes, 'v');
  const EntryRef entry = Entry::Make(-2, key, value, kVersion);
  CHECK(UnpackWhole(entry->Packed())->Packed() == entry->Packed());
  value += 'v';
  CHECK_FALSE(UnpackWhole(Head(kMaxValueBytes + 1, 3) + "key" + value));
}

// The bytes in a block of exactly their size, so that a sanitizer sees a read past the end.
EntryRef UnpackExact(const std::string& bytes) {
  const std::vector<char> block(bytes.begin(), bytes.end());
  std::string_view view(block.data(), block.size());
  EntryRef entry = Entry::Unpack(view);
  if (entry) {
    CHECK(bytes.compare(0, bytes.size() - view.size(), entry->Packed()) == 0);
    CHECK(IsValidKey(entry->key()));
    CHECK(entry->expires_at() >= 0);
    if (entry->tombstone()) CHECK((entry->value().empty() && entry->expires_at() == 0));
  }
  return entry;
}

TEST_CASE("unpacking survives every truncation") {
  for (const EntryRef& entry : {Entry::Make(1, "schl\xc3\xbcssel", "value"sv, kVersion, 99),
                                Entry::Make(1, "k", std::string(300, 'v'), kVersion),
                                Entry::MakeTombstone(1, "k", kVersion)}) {
    const std::string packed(entry->Packed());
    for (std::size_t size = 0; size < packed.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(UnpackExact(packed.substr(0, size)));
    }
    CHECK(UnpackExact(packed));
  }
}

TEST_CASE("unpacking survives random bytes") {
  const std::uint64_t seed = GENERATE(1, 2, 3);
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string good(Entry::Make(1, "some key", "some value"sv, kVersion, 99)->Packed());
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    if (round % 2 == 0) {
      bytes.resize(random() % 64);
      for (char& byte : bytes) byte = static_cast<char>(random());
    } else {
      for (auto i = random() % 4; i-- > 0;)
        bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    accepted += static_cast<bool>(UnpackExact(bytes));
  }
  CHECK(accepted > 0);
}

// What an entry says of itself, apart from how it is stored.
struct Plain {
  std::int32_t type = 0;
  std::string key;
  std::string value;
  Version version;
  bool tombstone = false;
  WallMs expires_at = 0;
};

EntryRef MakeFrom(const Plain& plain) {
  if (plain.tombstone) return Entry::MakeTombstone(plain.type, plain.key, plain.version);
  return Entry::Make(plain.type, plain.key, plain.value, plain.version, plain.expires_at);
}

template <typename T>
std::string Bytes(T number) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    bytes += static_cast<char>(static_cast<std::uint64_t>(number) >> (8 * i));
  return bytes;
}

std::string PackedOf(const Plain& plain) {
  const auto word = static_cast<std::uint32_t>(plain.value.size()) |
                    (plain.tombstone ? 0x80000000 : 0) | (plain.expires_at != 0 ? 0x40000000 : 0);
  return Bytes(plain.version.hlc) + Bytes(plain.version.origin) + Bytes(plain.type) + Bytes(word) +
         Bytes(static_cast<std::uint16_t>(plain.key.size())) +
         (plain.expires_at != 0 ? Bytes(plain.expires_at) : "") + plain.key + plain.value;
}

// As the header of EntryLayout has it.
std::size_t MemoryOf(const Plain& plain, bool whole_origin) {
  const auto bytes = [](std::uint64_t number) {
    return number == 0 ? 0U : number < 0x100 ? 1U : number < 0x10000 ? 2U : 4U;
  };
  const std::int64_t type = plain.type;
  return MallocBytes(4 + 1 + 8 + (whole_origin ? 8U : 2U) +
                     bytes(static_cast<std::uint64_t>(type < 0 ? -2 * type - 1 : 2 * type)) +
                     (plain.key.size() < 0x100 ? 1U : 2U) + bytes(plain.value.size()) +
                     (plain.expires_at != 0 ? 8U : 0U) + plain.key.size() + plain.value.size());
}

bool Says(const Entry& entry, const Plain& plain) {
  return entry.type() == plain.type && entry.key() == plain.key && entry.value() == plain.value &&
         entry.version() == plain.version && entry.tombstone() == plain.tombstone &&
         entry.expires_at() == plain.expires_at;
}

void CheckRoundTrip(const Plain& plain) {
  CAPTURE(plain.type, plain.key.size(), plain.value.size(), plain.version.ToString(),
          plain.expires_at);
  const EntryRef entry = MakeFrom(plain);
  const std::string packed = PackedOf(plain);
  REQUIRE(Says(*entry, plain));
  REQUIRE(entry->Packed() == packed);
  REQUIRE(entry->packed_size() == packed.size());
  const bool whole_origin = plain.version.hlc == 1 || plain.version.origin == 0;
  REQUIRE(entry->memory_bytes() == MemoryOf(plain, whole_origin));
  REQUIRE(Says(*UnpackExact(packed), plain));
}

TEST_CASE("numbers of every length are stored and given back") {
  constexpr auto kMinType = std::numeric_limits<std::int32_t>::min();
  constexpr auto kMaxType = std::numeric_limits<std::int32_t>::max();
  for (const std::int32_t type :
       {0, 1, -1, 127, -128, 128, -129, 32767, -32768, 32768, -32769, kMaxType, kMinType}) {
    for (const std::size_t key_size : {1UL, 255UL, 256UL, kMaxKeyBytes}) {
      for (const WallMs expires_at : {WallMs{0}, WallMs{1}, std::numeric_limits<WallMs>::max()}) {
        for (const std::size_t value_size : {0UL, 1UL, 255UL, 256UL, 65535UL, 65536UL}) {
          CheckRoundTrip({type, std::string(key_size, 'k'), std::string(value_size, 'v'), kVersion,
                          false, expires_at});
        }
      }
      CheckRoundTrip({type, std::string(key_size, 'k'), "", kVersion, true, 0});
    }
  }
}

TEST_CASE("versions of every kind are stored and given back") {
  for (const std::uint64_t hlc : {0UL, 1UL, 2UL, UINT64_MAX}) {
    for (const std::uint64_t origin : {0UL, 1UL, UINT64_MAX}) {
      CheckRoundTrip({-1, "k", "v", {hlc, origin}, false, 0});
      CheckRoundTrip({-1, "k", "", {hlc, origin}, true, 0});
    }
  }
  CheckRoundTrip({-1, "k", "v", LegacyVersion("v"), false, 0});
}

TEST_CASE("random entries say what they were made of, packed and unpacked") {
  const std::uint64_t seed = GENERATE(1, 2, 3);
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const auto some = [&](std::uint64_t below) { return random() % below; };
  const auto text = [&](std::size_t size) {
    std::string bytes(size, ' ');
    for (char& byte : bytes) byte = static_cast<char>('a' + some(26));
    return bytes;
  };
  for (int i = 0; i < 5000; ++i) {
    Plain plain;
    plain.type = static_cast<std::int32_t>(random()) >> some(32);
    plain.key = text(1 + some(1UL << some(10)));
    plain.version = {random() >> some(64), some(2) == 0 ? 0 : 2 * some(100) + 30001};
    plain.tombstone = some(4) == 0;
    if (!plain.tombstone) {
      plain.value = text(some(1UL << some(18)));
      plain.expires_at = static_cast<WallMs>(some(2) == 0 ? 0 : random() >> 1 >> some(62));
    }
    CheckRoundTrip(plain);
  }
}

TEST_CASE("any part of the packed form can be had") {
  for (const WallMs expires_at : {0, 99}) {
    const EntryRef entry = Entry::Make(-2, "key", "value"sv, kVersion, expires_at);
    const std::string packed = entry->Packed();
    for (std::size_t offset = 0; offset <= packed.size(); ++offset) {
      for (std::size_t size = 0; size <= packed.size() + 1; ++size) {
        CAPTURE(offset, size);
        CHECK(entry->Packed(offset, size) == packed.substr(offset, size));
      }
      CHECK(entry->Packed(offset) == packed.substr(offset));
    }
    std::string written(packed.size() + 1, '?');
    CHECK(entry->PackTo(written.data()) == written.data() + packed.size());
    CHECK(written == packed + '?');
  }
}

TEST_CASE("an entry that finds no number for its origin is as good, and only larger") {
  // All of these want the same places, which are too few for them.
  const auto plain = [](std::uint64_t i) {
    return Plain{1, "key", "fourteen bytes", {9, 2 * Origins::kPlaces * i + 20001}, false, 0};
  };
  const std::size_t small = MemoryOf(plain(0), false);
  const std::size_t large = MemoryOf(plain(0), true);
  REQUIRE(small < large);
  for (std::uint64_t i = 0; i < 3 * Origins::kReach; ++i) {
    CAPTURE(i);
    const EntryRef entry = MakeFrom(plain(i));
    CHECK(Says(*entry, plain(i)));
    CHECK(entry->Packed() == PackedOf(plain(i)));
    CHECK(entry->memory_bytes() == (i < Origins::kReach ? small : large));
  }
}

TEST_CASE("values without versions take no numbers from those that need them") {
  for (std::size_t i = 0; i < 4 * Origins::kPlaces; ++i) {
    const std::string value = std::to_string(i);
    Entry::Make(1, "key", value, LegacyVersion(value));
  }
  const Plain plain{1, "key", "fourteen bytes", {9, 123456789}, false, 0};
  REQUIRE(MemoryOf(plain, false) < MemoryOf(plain, true));
  CHECK(MakeFrom(plain)->memory_bytes() == MemoryOf(plain, false));
}

TEST_CASE("the memory of an entry is that of its block") {
  // 4 bytes of count, 14 of header and 18 + 100 of content: malloc takes 144 for these 136.
  CHECK(Entry::Make(1, std::string(18, 'k'), std::string(100, 'v'), kVersion)->memory_bytes() ==
        144);
  CHECK(Entry::MakeTombstone(1, "k", kVersion)->memory_bytes() == 32);
}

}  // namespace
}  // namespace podmirror
