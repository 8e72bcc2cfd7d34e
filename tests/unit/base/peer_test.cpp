#include "base/peer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace podmirror {
namespace {

PodRecord Record(WallMs started_at_ms, std::string uid, std::string ip = "10.0.0.1",
                 std::uint16_t port = 7070) {
  PodRecord record;
  record.uid = std::move(uid);
  record.ip = std::move(ip);
  record.port = port;
  record.started_at_ms = started_at_ms;
  return record;
}

TEST_CASE("a peer is told apart by its UID, or by its address where there is none") {
  CHECK(Record(0, "uid-1").id() == "uid-1");
  CHECK(Record(0, "", "10.0.0.9", 70).id() == "10.0.0.9:70");
  CHECK(Record(0, "uid-1", "10.0.0.1").id() == Record(0, "uid-1", "10.0.0.2").id());
}

TEST_CASE("older is who started first, then by UID, then by address, unknown starts last") {
  const std::vector<PodRecord> oldest_first = {
      Record(1, "z"),
      Record(2, "a"),
      Record(2, "b"),
      Record(9, ""),
      Record(9, "", "10.0.0.2"),
      Record(9, "", "10.0.0.2", 7071),
      Record(0, ""),
      Record(0, "a"),
  };
  for (std::size_t i = 0; i < oldest_first.size(); ++i) {
    for (std::size_t j = 0; j < oldest_first.size(); ++j) {
      CAPTURE(i, j);
      CHECK(OlderThan(oldest_first[i], oldest_first[j]) == (i < j));
    }
  }
  std::vector<PodRecord> sorted(oldest_first.rbegin(), oldest_first.rend());
  std::sort(sorted.begin(), sorted.end(), OlderThan);
  CHECK(sorted == oldest_first);
}

}  // namespace
}  // namespace podmirror
