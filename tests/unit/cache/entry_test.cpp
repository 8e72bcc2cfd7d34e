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

TEST_CASE("values may hold any bytes") {
  std::string value;
  for (int i = 0; i < 256; ++i) value += static_cast<char>(i);
  const EntryRef entry = Entry::Make(0, "k", value, kVersion);
  CHECK(entry->value() == value);
  CHECK(UnpackWhole(entry->packed())->value() == value);
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
  CHECK(Entry::Make(-2, "key", "value"sv, kVersion)->packed() == Head(5, 3) + "keyvalue");
  CHECK(Entry::MakeTombstone(-2, "key", kVersion)->packed() == Head(0x80000000, 3) + "key");
  CHECK(Entry::Make(-2, "key", "value"sv, kVersion, 0x0807060504030201)->packed() ==
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
  const std::string both = std::string(first->packed()) + std::string(second->packed());
  std::string_view bytes = both;
  CHECK(Entry::Unpack(bytes)->packed() == first->packed());
  CHECK(Entry::Unpack(bytes)->packed() == second->packed());
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
  CHECK(UnpackWhole(entry->packed())->packed() == entry->packed());
  value += 'v';
  CHECK_FALSE(UnpackWhole(Head(kMaxValueBytes + 1, 3) + "key" + value));
}

// The bytes in a block of exactly their size, so that a sanitizer sees a read past the end.
EntryRef UnpackExact(const std::string& bytes) {
  const std::vector<char> block(bytes.begin(), bytes.end());
  std::string_view view(block.data(), block.size());
  EntryRef entry = Entry::Unpack(view);
  if (entry) {
    CHECK(bytes.compare(0, bytes.size() - view.size(), entry->packed()) == 0);
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
    const std::string packed(entry->packed());
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
  const std::string good(Entry::Make(1, "some key", "some value"sv, kVersion, 99)->packed());
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

TEST_CASE("the memory of an entry is that of its block") {
  // 4 bytes of count, 26 of header and 18 + 100 of content: malloc takes 160 for these 148.
  CHECK(Entry::Make(1, std::string(18, 'k'), std::string(100, 'v'), kVersion)->memory_bytes() ==
        160);
  CHECK(Entry::MakeTombstone(1, "k", kVersion)->memory_bytes() == 48);
}

}  // namespace
}  // namespace podmirror
