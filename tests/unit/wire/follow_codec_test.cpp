// What a follower is told, as bytes that must not change: daemons and followers of other versions
// read them.
#include "wire/follow_codec.h"

#include <absl/strings/escaping.h>

#include <catch2/catch.hpp>
#include <string>

namespace podmirror::wire {
namespace {

follow::Changes Some() {
  return {.entries = {Entry::Make(1, "k", "v", {0x10, 0x20}),
                      Entry::MakeTombstone(-1, "gone", {0x11, 0x20})},
          .large = {{0x99, {1, 2}}},
          .missed = true,
          .state = follow::DaemonState{.incarnation = 1,
                                       .digest = 2,
                                       .purge_floor = 3,
                                       .expired_by = 4,
                                       .wall = 5,
                                       .steady = 6},
          .synced = true};
}

std::string BytesOf(const follow::Changes& changes) {
  v1::ChangesResponse response;
  Encode(changes, &response);
  return response.SerializeAsString();
}

TEST_CASE("follow codec: the bytes stay what they are") {
  CHECK(absl::BytesToHexString(BytesOf(Some())) ==
        "0a3a10000000000000002000000000000000010000000100000001006b761100000000000000"
        "2000000000000000ffffffff000000800400676f6e65"
        "121b09990000000000000011010000000000000019020000000000000018012"
        "2210901000000000000001102000000000000001903000000000000002004280530062801");
  CHECK(BytesOf({}).empty());
}

TEST_CASE("follow codec: what is read is what was meant") {
  v1::ChangesResponse response;
  REQUIRE(response.ParseFromString(BytesOf(Some())));
  const auto read = Decode(response);
  REQUIRE(read.ok());
  CHECK(BytesOf(*read) == BytesOf(Some()));
  CHECK(read->entries[0]->value() == "v");
  CHECK(read->entries[1]->tombstone());
  CHECK(read->large[0].key_hash == 0x99);
  CHECK(read->missed);
  CHECK(read->synced);
  CHECK(read->state->wall == 5);
}

TEST_CASE("follow codec: what makes no sense is refused") {
  v1::ChangesResponse response;
  SECTION("entries that are cut off") { response.set_entries("\x01\x02"); }
  SECTION("a State of no daemon") { response.mutable_state(); }
  SECTION("an age before its clock began") {
    response.mutable_state()->set_incarnation(1);
    response.mutable_state()->set_steady_ms(-1);
  }
  SECTION("what expires later is gone") {
    response.mutable_state()->set_incarnation(1);
    response.mutable_state()->set_expired_by(1);
  }
  SECTION("a clock before 1970") {
    response.mutable_state()->set_incarnation(1);
    response.mutable_state()->set_wall_ms(-1);
  }
  SECTION("an end of entries before 1970") {
    response.mutable_state()->set_incarnation(1);
    response.mutable_state()->set_expired_by(-1);
  }
  CHECK(Decode(response).status().code() == Code::kInvalid);
}

}  // namespace
}  // namespace podmirror::wire
