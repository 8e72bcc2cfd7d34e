#include "wire/codec.h"

#include <google/protobuf/stubs/logging.h>

#include <catch2/catch.hpp>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace podmirror::wire {
namespace {

using sync::Message;

std::string Hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

std::string Unhex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::string Bytes(const Message& message) {
  v1::Frame frame;
  Encode(message, &frame);
  return frame.SerializeAsString();
}

Result<std::optional<Message>> FromBytes(const std::string& bytes) {
  v1::Frame frame;
  REQUIRE(frame.ParseFromString(bytes));
  return Decode(frame);
}

sync::Introduction SomeIntroduction() {
  sync::Introduction self;
  self.name = "podmirror-1";
  self.uid = "u-1";
  self.cluster = "default/podmirror";
  self.protocol = 1;
  self.features = 5;
  self.incarnation = 0x0102030405060708;
  self.process_started_ms = 1'700'000'000'000;
  self.synced = true;
  self.entries = 3;
  self.hlc = 0x1122334455667788;
  self.purge_floor = 7;
  return self;
}

std::vector<EntryRef> SomeEntries() {
  return {Entry::Make(1, "k", "v", {0x10, 0x20}), Entry::MakeTombstone(-1, "gone", {0x11, 0x20}),
          Entry::Make(2, "ttl", std::string("\0\xff", 2), {0x12, 0x20}, 1'700'000'000'000)};
}

const sync::EntryId kSomeId{0x99, {1, 2}};

std::vector<std::uint64_t> Numbers(std::size_t count) {
  std::vector<std::uint64_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = i;
  return numbers;
}

struct Golden {
  const char* name;
  Message message;
  std::string hex;  // of its first 320 bytes
};

std::vector<Golden> GoldenFrames() {
  return {
      {"hello", sync::Hello{SomeIntroduction(), "u-2"},
       "0a680a610a0b706f646d6972726f722d311203752d311a1164656661756c742f706f646d6972726f72200129050"
       "00000000000003108070605040302013880d095ffbc31400148035188776655443322115907000000000000006a"
       "090880808020108080011203752d32"},
      {"hello_reply",
       sync::HelloReply{sync::RefusalReason::kOtherUid, "no", SomeIntroduction(), false, true},
       "126b080212026e6f1a610a0b706f646d6972726f722d311203752d311a1164656661756c742f706f646d6972726"
       "f7220012905000000000000003108070605040302013880d095ffbc314001480351887766554433221159070000"
       "00000000006a090880808020108080012001"},
      {"batch", sync::Batch{5, 7, SomeEntries()},
       "1a67080510071a6110000000000000002000000000000000010000000100000001006b761100000000000000200"
       "0000000000000ffffffff000000800400676f6e6512000000000000002000000000000000020000000200004003"
       "000068e5cf8b01000074746c00ff"},
      {"batch with bases",
       sync::Batch{5, 5, {Entry::MakeTombstone(2, "gone", {18, 32})}, {{0, {{1, 2}, true, true}}}},
       "1a3c080510051a1e1200000000000000200000000000000002000000000000800400676f6e6522161101000000"
       "0000000019020000000000000020012801"},
      {"ack with verdicts",
       sync::Ack{300, {}, {{1, {sync::Verdict::kFine, {}}}, {2, {sync::Verdict::kLost, {3, 4}}}}},
       "221d08ac021a0208011a140802110300000000000000190400000000000000"},
      {"ack", sync::Ack{300}, "220308ac02"},
      {"heartbeat", sync::Heartbeat{1, 2, 3, 4, true, true},
       "2a2809010000000000000019040000000000000020012801310300000000000000410200000000000000"},
      {"sums_request", sync::SumsRequest{4, {0, 1, 255}}, "3208080412040001ff01"},
      {"sums", sync::Sums{4, {}, Numbers(256)},
       "3a851008041a8010000000000000000001000000000000000200000000000000030000000000000004000000000"
       "00000050000000000000006000000000000000700000000000000080000000000000009000000000000000a0000"
       "00000000000b000000000000000c000000000000000d000000000000000e000000000000000f000000000000001"
       "0000000000000001100000000000000120000000000000013000000000000001400000000000000150000000000"
       "000016000000000000001700000000000000180000000000000019000000000000001a000000000000001b00000"
       "0000000001c000000000000001d000000000000001e000000000000001f00000000000000200000000000000021"
       "0000000000000022000000000000002300000000000000240000000000000025000000000000002600000000000"
       "000"},
      {"offer", sync::Offer{4, {1, 65535}, {{0x99, {1, 2}}, {0x98, {3, 4}}}},
       "423e0804120401ffff031a109900000000000000980000000000000022100100000000000000030000000000000"
       "02a1002000000000000000400000000000000"},
      {"offer of a part", sync::Offer{4, {9}, {{0x99, {1, 2}, true}}, 0x10, 0xA0},
       "42380804120109"
       "1a089900000000000000"
       "22080100000000000000"
       "2a080200000000000000"
       "320101"
       "391000000000000000"
       "41a000000000000000"},
      {"offer_reply", sync::OfferReply{4, SomeEntries(), {1, 2}, 5, {6, 7}, 8, {}},
       "4a9b010804126110000000000000002000000000000000010000000100000001006b76110000000000000020000"
       "00000000000ffffffff000000800400676f6e651200000000000000200000000000000002000000020000400300"
       "0068e5cf8b01000074746c00ff1a100100000000000000020000000000000029050000000000000032100600000"
       "0000000000700000000000000390800000000000000"},
      {"push", sync::Push{4, SomeEntries()},
       "52650804126110000000000000002000000000000000010000000100000001006b7611000000000000002000000"
       "000000000ffffffff000000800400676f6e65120000000000000020000000000000000200000002000040030000"
       "68e5cf8b01000074746c00ff"},
      {"push_reply", sync::PushReply{4}, "5a020804"},
      {"fetch", sync::Fetch{{7, 8}}, "620d0a0b0807110800000000000000"},
      {"fetch_reply", sync::FetchReply{true, SomeEntries(), {65536, 0}, true},
       "6a6d0801126110000000000000002000000000000000010000000100000001006b7611000000000000002000000"
       "000000000ffffffff000000800400676f6e65120000000000000020000000000000000200000002000040030000"
       "68e5cf8b01000074746c00ff1a04088080042001"},
      {"offer_reply with large ones", sync::OfferReply{4, {}, {}, 0, {}, 0, {kSomeId}},
       "4a1f0804421b099900000000000000110100000000000000190200000000000000"},
      {"fragment_request", sync::FragmentRequest{kSomeId, 300},
       "72200a1b09990000000000000011010000000000000019020000000000000010ac02"},
      {"fragment", sync::Fragment{kSomeId, 600, 300, "part", true},
       "7a2b0a1b09990000000000000011010000000000000019020000000000000010d80418ac0222047061727428"
       "01"},
      {"fragment_reply", sync::FragmentReply{kSomeId, 304, true, true},
       "8201240a1b09990000000000000011010000000000000019020000000000000010b00218012001"},
  };
}

TEST_CASE("every message has the bytes that peers of this version know") {
  for (const Golden& golden : GoldenFrames()) {
    INFO(golden.name);
    CHECK(Hex(Bytes(golden.message)).substr(0, 640) == golden.hex);
  }
}

TEST_CASE("every message comes back as it was") {
  for (const Golden& golden : GoldenFrames()) {
    INFO(golden.name);
    const std::string bytes = Bytes(golden.message);
    const auto decoded = FromBytes(bytes);
    REQUIRE(decoded.ok());
    REQUIRE(decoded->has_value());
    CHECK((*decoded)->index() == golden.message.index());
    CHECK(Hex(Bytes(**decoded)) == Hex(bytes));
  }
}

TEST_CASE("what a message says is in the right place") {
  const auto reply = FromBytes(Bytes(sync::FetchReply{false, SomeEntries(), {12, 34}, true}));
  const auto& fetched = std::get<sync::FetchReply>(**reply);
  REQUIRE(fetched.entries.size() == 3);
  CHECK(fetched.entries[0]->key() == "k");
  CHECK(fetched.entries[1]->tombstone());
  CHECK(fetched.entries[2]->expires_at() == 1'700'000'000'000);
  CHECK(fetched.next == sync::Position{12, 34});
  CHECK(fetched.done);
  CHECK_FALSE(fetched.busy);

  const auto hello = FromBytes(Bytes(sync::Hello{SomeIntroduction(), "u-2"}));
  const auto& self = std::get<sync::Hello>(**hello).self;
  CHECK(self.name == "podmirror-1");
  CHECK(self.uid == "u-1");
  CHECK(self.cluster == "default/podmirror");
  CHECK(self.incarnation == 0x0102030405060708);
  CHECK(self.process_started_ms == 1'700'000'000'000);
  CHECK(self.synced);
  CHECK(self.purge_floor == 7);

  const auto offered = FromBytes(Bytes(sync::OfferReply{1, {}, {2}, 3, {4, 5}, 6, {}}));
  const auto& answer = std::get<sync::OfferReply>(**offered);
  CHECK(answer.wants == std::vector<std::uint64_t>{2});
  CHECK(answer.dead == std::vector<std::uint64_t>{4, 5});
  CHECK(answer.next == 3);
  CHECK(answer.floor == 6);

  const auto beat = FromBytes(Bytes(sync::Heartbeat{1, 2, 3, 4, true, false}));
  const auto& heartbeat = std::get<sync::Heartbeat>(**beat);
  CHECK(heartbeat.contact == 2);
  CHECK(heartbeat.bound == 3);
  CHECK(heartbeat.purge_floor == 4);
}

TEST_CASE("every reason of a refusal has its own name on the wire") {
  const std::pair<sync::RefusalReason, v1::Refusal> reasons[] = {
      {sync::RefusalReason::kNone, v1::REFUSAL_NONE},
      {sync::RefusalReason::kOtherCluster, v1::REFUSAL_OTHER_CLUSTER},
      {sync::RefusalReason::kOtherUid, v1::REFUSAL_OTHER_UID},
      {sync::RefusalReason::kProtocol, v1::REFUSAL_PROTOCOL},
      {sync::RefusalReason::kClockSkew, v1::REFUSAL_CLOCK_SKEW},
      {sync::RefusalReason::kSelf, v1::REFUSAL_SELF}};
  for (const auto& [reason, wire] : reasons) {
    v1::Frame frame;
    Encode(sync::HelloReply{reason, "", SomeIntroduction(), false, false}, &frame);
    CHECK(frame.hello_reply().refusal() == wire);
    CHECK(std::get<sync::HelloReply>(**Decode(frame)).refusal == reason);
  }
}

TEST_CASE("a frame is replaced, not added to") {
  v1::Frame frame;
  Encode(sync::Sums{4, {}, Numbers(256)}, &frame);
  Encode(sync::Sums{5, {}, Numbers(256)}, &frame);
  CHECK(frame.sums().sums_size() == 256);
}

TEST_CASE("a message of a later version is skipped") {
  // Field 100 of Frame, a message with two bytes.
  const auto unknown = FromBytes(Unhex("a206020801"));
  REQUIRE(unknown.ok());
  CHECK_FALSE(unknown->has_value());
  const auto empty = FromBytes("");
  REQUIRE(empty.ok());
  CHECK_FALSE(empty->has_value());
}

TEST_CASE("unknown fields and refusals of a later version are understood as well as can be") {
  v1::Frame frame;
  Encode(sync::HelloReply{sync::RefusalReason::kSelf, "", SomeIntroduction(), false, false},
         &frame);
  frame.mutable_hello_reply()->set_refusal(static_cast<v1::Refusal>(99));
  const auto reply = Decode(frame);
  REQUIRE(reply.ok());
  CHECK(std::get<sync::HelloReply>(**reply).refusal == sync::RefusalReason::kProtocol);
  // An Ack with an extra field 15.
  const auto ack = FromBytes(Unhex("220408057801"));
  REQUIRE(ack.ok());
  CHECK(std::get<sync::Ack>(**ack).seq == 5);
}

TEST_CASE("texts that are too long are cut, not in the middle of a character") {
  sync::HelloReply reply;
  reply.self = SomeIntroduction();
  reply.detail = std::string(kMaxDetailBytes - 1, 'x') + "\xc3\xa4";
  const auto decoded = FromBytes(Bytes(reply));
  REQUIRE(decoded.ok());
  CHECK(std::get<sync::HelloReply>(**decoded).detail == std::string(kMaxDetailBytes - 1, 'x'));
}

// --- what a hostile peer may send ---

using Edit = std::function<void(v1::Frame*)>;

Code CodeOf(const Message& message, const Edit& edit) {
  v1::Frame frame;
  Encode(message, &frame);
  edit(&frame);
  const auto decoded = Decode(frame);
  // Whatever is refused says why.
  if (!decoded.ok()) CHECK_FALSE(decoded.status().message().empty());
  return decoded.status().code();
}

TEST_CASE("introductions keep their bounds") {
  const sync::Hello hello{SomeIntroduction(), "u-2"};
  const auto with = [&](const std::function<void(v1::Introduction*)>& edit) {
    return CodeOf(hello, [&](v1::Frame* f) { edit(f->mutable_hello()->mutable_self()); });
  };
  CHECK(with([](v1::Introduction* i) { i->set_incarnation(0); }) == Code::kInvalid);
  CHECK(with([](v1::Introduction* i) { i->set_name(std::string(1024, 'n')); }) == Code::kOk);
  CHECK(with([](v1::Introduction* i) { i->set_name(std::string(1025, 'n')); }) == Code::kInvalid);
  CHECK(with([](v1::Introduction* i) { i->set_uid(std::string(1025, 'n')); }) == Code::kInvalid);
  CHECK(with([](v1::Introduction* i) { i->set_cluster(std::string(4097, 'n')); }) ==
        Code::kInvalid);
  CHECK(with([](v1::Introduction* i) { i->clear_limits(); }) == Code::kOk);
  CHECK(with([](v1::Introduction* i) { i->mutable_limits()->set_max_frame_bytes(1 << 20); }) ==
        Code::kInvalid);
  CHECK(with([](v1::Introduction* i) { i->mutable_limits()->set_max_frame_bytes(1 << 30); }) ==
        Code::kOk);
  CHECK(with([](v1::Introduction* i) { i->mutable_limits()->set_max_listed(10); }) ==
        Code::kInvalid);
  CHECK(CodeOf(hello, [](v1::Frame* f) { f->mutable_hello()->clear_self(); }) == Code::kInvalid);
  CHECK(CodeOf(hello, [](v1::Frame* f) {
          f->mutable_hello()->set_expected_uid(std::string(1025, 'n'));
        }) == Code::kInvalid);
  sync::HelloReply reply;
  reply.self = SomeIntroduction();
  CHECK(CodeOf(reply, [](v1::Frame* f) {
          f->mutable_hello_reply()->set_detail(std::string(4097, 'n'));
        }) == Code::kInvalid);
}

TEST_CASE("a batch holds the writes it is numbered with, but for large ones") {
  const sync::Batch batch{5, 7, SomeEntries()};
  const auto with = [&](std::uint64_t first, std::uint64_t last) {
    return CodeOf(batch, [&](v1::Frame* f) {
      f->mutable_batch()->set_first_seq(first);
      f->mutable_batch()->set_last_seq(last);
    });
  };
  CHECK(with(1, 3) == Code::kOk);
  CHECK(with(0, 2) == Code::kInvalid);
  CHECK(with(5, 6) == Code::kInvalid);
  CHECK(with(5, 8) == Code::kOk);
  CHECK(with(5, 7 + sync::kMaxListed) == Code::kOk);
  CHECK(with(5, 8 + sync::kMaxListed) == Code::kInvalid);
  CHECK(with(7, 5) == Code::kInvalid);
  CHECK(with(1, ~0ULL) == Code::kInvalid);
}

TEST_CASE("a base and a verdict have each a place of their own in the batch") {
  const sync::Batch batch{1, 3, SomeEntries()};
  const auto bases = [&](const std::vector<std::uint32_t>& places) {
    return CodeOf(batch, [&](v1::Frame* f) {
      for (const std::uint32_t place : places) f->mutable_batch()->add_bases()->set_place(place);
    });
  };
  CHECK(bases({0, 1, 2}) == Code::kOk);
  CHECK(bases({3}) == Code::kInvalid);
  CHECK(bases({1, 1}) == Code::kInvalid);
  CHECK(bases({1, 0}) == Code::kInvalid);
  const auto verdicts = [&](const std::vector<std::uint32_t>& places) {
    return CodeOf(sync::Ack{5}, [&](v1::Frame* f) {
      for (const std::uint32_t place : places) f->mutable_ack()->add_verdicts()->set_place(place);
    });
  };
  CHECK(verdicts({0, 4095}) == Code::kOk);
  CHECK(verdicts({4096}) == Code::kInvalid);
  CHECK(verdicts({2, 2}) == Code::kInvalid);
}

TEST_CASE("what a fragment brings of a condition comes back") {
  sync::Fragment fragment{kSomeId, 600, 300, "part", true, sync::Base{{1, 2}, true, false}};
  CHECK(std::get<sync::Fragment>(**FromBytes(Bytes(fragment))).base == fragment.base);
  sync::FragmentReply reply{kSomeId, 600, false, false, {sync::Verdict::kLost, {3, 4}}};
  CHECK(std::get<sync::FragmentReply>(**FromBytes(Bytes(reply))).verdict == reply.verdict);
  reply.verdict = {};
  CHECK(std::get<sync::FragmentReply>(**FromBytes(Bytes(reply))).verdict == reply.verdict);
}

TEST_CASE("a fragment lies within an entry, and is no longer than it may be") {
  const auto with = [](std::uint64_t total, std::uint64_t offset, std::size_t size) {
    return CodeOf(sync::Fragment{kSomeId, 0, 0, {}, false}, [&](v1::Frame* f) {
      f->mutable_fragment()->set_total(total);
      f->mutable_fragment()->set_offset(offset);
      f->mutable_fragment()->set_bytes(std::string(size, 'x'));
    });
  };
  CHECK(with(0, 0, 0) == Code::kOk);
  CHECK(with(1000, 900, 100) == Code::kOk);
  CHECK(with(1000, 901, 100) == Code::kInvalid);
  CHECK(with(1000, 1001, 0) == Code::kInvalid);
  CHECK(with(1000, ~0ULL, 2) == Code::kInvalid);
  CHECK(with(sync::kMaxPackedBytes, 0, sync::kFragmentBytes) == Code::kOk);
  CHECK(with(sync::kMaxPackedBytes + 1, 0, 0) == Code::kInvalid);
  CHECK(with(sync::kMaxPackedBytes, 0, sync::kFragmentBytes + 1) == Code::kInvalid);
}

TEST_CASE("what is listed as large rises and is bounded") {
  const auto with = [](const std::vector<std::uint64_t>& key_hashes) {
    v1::Frame frame;
    for (const std::uint64_t key_hash : key_hashes) {
      frame.mutable_offer_reply()->add_large()->set_key_hash(key_hash);
    }
    return Decode(frame).status().code();
  };
  CHECK(with({1, 2}) == Code::kOk);
  CHECK(with({1, 1}) == Code::kInvalid);
  CHECK(with({2, 1}) == Code::kInvalid);
  CHECK(with(Numbers(sync::kMaxListed)) == Code::kOk);
  CHECK(with(Numbers(sync::kMaxListed + 1)) == Code::kInvalid);
}

TEST_CASE("packed entries must be whole to the last byte") {
  const std::string packed(SomeEntries()[0]->Packed());
  for (std::size_t size = 1; size < packed.size(); ++size) {
    v1::Frame frame;
    frame.mutable_push()->set_entries(packed + packed.substr(0, size));
    INFO(size);
    CHECK(Decode(frame).status().code() == Code::kInvalid);
  }
  for (const auto& set :
       {+[](v1::Frame*f, const std::string&b) { f->mutable_offer_reply()->set_entries(b); },
        +[](v1::Frame*f, const std::string&b) { f->mutable_fetch_reply()->set_entries(b); }}) {
    v1::Frame frame;
    set(&frame, packed + "x");
    CHECK(Decode(frame).status().code() == Code::kInvalid);
  }
}

TEST_CASE("groups, buckets and positions are in range and order") {
  const auto groups = [](std::vector<std::uint32_t> values) {
    v1::Frame frame;
    frame.mutable_sums_request()->mutable_groups()->Add(values.begin(), values.end());
    return Decode(frame).status().code();
  };
  CHECK(groups({}) == Code::kOk);
  CHECK(groups({0, 255}) == Code::kOk);
  CHECK(groups({256}) == Code::kInvalid);
  CHECK(groups({1, 1}) == Code::kInvalid);
  CHECK(groups({2, 1}) == Code::kInvalid);
  const auto buckets = [](std::vector<std::uint32_t> values) {
    v1::Frame frame;
    frame.mutable_offer()->mutable_buckets()->Add(values.begin(), values.end());
    return Decode(frame).status().code();
  };
  CHECK(buckets({0, 65535}) == Code::kOk);
  CHECK(buckets({65536}) == Code::kInvalid);
  CHECK(buckets({3, 3}) == Code::kInvalid);
  v1::Frame fetch;
  fetch.mutable_fetch()->mutable_from()->set_bucket(65536);
  CHECK(Decode(fetch).ok());
  fetch.mutable_fetch()->mutable_from()->set_bucket(65537);
  CHECK(Decode(fetch).status().code() == Code::kInvalid);
  v1::Frame reply;
  reply.mutable_fetch_reply()->mutable_next()->set_bucket(65537);
  CHECK(Decode(reply).status().code() == Code::kInvalid);
}

TEST_CASE("sums are as many as were asked for") {
  const auto sums = [](std::vector<std::uint32_t> groups, int count) {
    v1::Frame frame;
    frame.mutable_sums()->mutable_groups()->Add(groups.begin(), groups.end());
    frame.mutable_sums()->mutable_sums()->Resize(count, 1);
    return Decode(frame).status().code();
  };
  CHECK(sums({}, 256) == Code::kOk);
  CHECK(sums({}, 255) == Code::kInvalid);
  CHECK(sums({1, 2}, 512) == Code::kOk);
  CHECK(sums({1, 2}, 256) == Code::kInvalid);
  CHECK(sums({300}, 256) == Code::kInvalid);
}

TEST_CASE("listings are bounded and of equal length") {
  const auto offer = [](int hashes, int hlcs, int origins) {
    v1::Frame frame;
    frame.mutable_offer()->mutable_key_hashes()->Resize(hashes, 1);
    frame.mutable_offer()->mutable_hlcs()->Resize(hlcs, 1);
    frame.mutable_offer()->mutable_origins()->Resize(origins, 1);
    return Decode(frame).status().code();
  };
  const int most = sync::kMaxListed;
  CHECK(offer(most, most, most) == Code::kOk);
  CHECK(offer(most + 1, most + 1, most + 1) == Code::kInvalid);
  CHECK(offer(2, 1, 2) == Code::kInvalid);
  CHECK(offer(2, 2, 1) == Code::kInvalid);
  v1::Frame wants;
  wants.mutable_offer_reply()->mutable_wants()->Resize(most + 1, 1);
  CHECK(Decode(wants).status().code() == Code::kInvalid);
  v1::Frame dead;
  for (int i = 0; i <= most; ++i) dead.mutable_offer_reply()->add_dead(static_cast<unsigned>(i));
  CHECK(Decode(dead).status().code() == Code::kInvalid);
}

TEST_CASE("tombstones of a listing are told one by one") {
  for (const std::size_t count : {1u, 7u, 8u, 9u, 100u}) {
    sync::Offer offer;
    for (std::size_t i = 0; i < count; ++i) offer.listed.push_back({i, {1, 1}, i % 3 == 1});
    const auto decoded = FromBytes(Bytes(offer));
    REQUIRE(decoded.ok());
    const auto& listed = std::get<sync::Offer>(**decoded).listed;
    REQUIRE(listed.size() == count);
    for (std::size_t i = 0; i < count; ++i) CHECK(listed[i].tombstone == (i % 3 == 1));
  }
  v1::Frame frame;
  frame.mutable_offer()->add_key_hashes(1);
  frame.mutable_offer()->add_hlcs(1);
  frame.mutable_offer()->add_origins(1);
  frame.mutable_offer()->set_tombstones("ab");
  CHECK(Decode(frame).status().code() == Code::kInvalid);
}

TEST_CASE("the part that is offered ends behind its beginning, and wants rise") {
  v1::Frame frame;
  frame.mutable_offer()->set_first(7);
  CHECK(std::get<sync::Offer>(**Decode(frame)).last == UINT64_MAX);
  frame.mutable_offer()->set_last(7);
  CHECK(std::get<sync::Offer>(**Decode(frame)).last == 7);
  frame.mutable_offer()->set_last(6);
  CHECK(Decode(frame).status().code() == Code::kInvalid);
  const auto wants = [](std::vector<std::uint64_t> hashes) {
    v1::Frame reply;
    reply.mutable_offer_reply()->mutable_wants()->Add(hashes.begin(), hashes.end());
    return Decode(reply).status().code();
  };
  CHECK(wants({0, UINT64_MAX}) == Code::kOk);
  CHECK(wants({2, 1}) == Code::kInvalid);
  CHECK(wants({2, 2}) == Code::kInvalid);
}

TEST_CASE("a frame over 64 MiB is refused") {
  v1::Frame frame;
  frame.mutable_push()->set_entries(std::string(sync::kMaxMessageBytes, 'x'));
  CHECK(Decode(frame).status().message() == "frame over 64 MiB");
}

TEST_CASE("random bytes and broken frames never do harm") {
  const google::protobuf::LogSilencer silence;
  std::mt19937_64 random(7);
  std::vector<std::string> frames;
  for (const Golden& golden : GoldenFrames()) frames.push_back(Bytes(golden.message));
  int refused = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = frames[random() % frames.size()];
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < edits; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    v1::Frame frame;
    if (!frame.ParseFromString(bytes)) continue;
    const auto decoded = Decode(frame);
    if (!decoded.ok()) {
      ++refused;
    } else if (decoded->has_value()) {
      // What is taken keeps the rules: it can be said again.
      v1::Frame again;
      Encode(**decoded, &again);
      CHECK(Decode(again).ok());
    }
  }
  CHECK(refused > 1000);
}

}  // namespace
}  // namespace podmirror::wire
