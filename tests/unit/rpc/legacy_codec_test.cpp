#include "rpc/legacy_codec.h"

#include <catch2/catch.hpp>
#include <map>
#include <string>

namespace podmirror::rpc {
namespace {

using Values = std::map<std::pair<std::int32_t, std::string>, std::string>;

Values ValuesOf(const LegacyRequests& requests) {
  Values values;
  for (const auto& request : requests.requests) {
    for (const auto& data : request.data()) {
      for (const auto& [key, value] : data.data()) {
        CHECK(values.emplace(std::pair(data.type(), key), value).second);
      }
    }
  }
  return values;
}

TEST_CASE("the newest value of each key is told, deletes are not") {
  const LegacyRequests out = ToLegacy({
      Entry::Make(1, "a", "old", {1, 1}),
      Entry::Make(1, "a", "new", {2, 1}),
      Entry::Make(2, "a", "other type", {1, 1}),
      Entry::Make(1, "gone", "x", {1, 1}),
      Entry::MakeTombstone(1, "gone", {2, 1}),
      Entry::Make(1, "binary", "\xff\xfe", {1, 1}),
  });
  CHECK(ValuesOf(out) == Values{{{1, "a"}, "new"}, {{2, "a"}, "other type"}});
  CHECK(out.skipped == 1);
  CHECK(ToLegacy({Entry::MakeTombstone(1, "gone", {2, 1})}).requests.empty());
}

TEST_CASE("requests stay below what such services take") {
  std::vector<EntryRef> entries;
  const std::string value(500'000, 'v');
  for (int i = 0; i < 20; ++i) {
    entries.push_back(Entry::Make(i % 3, "k" + std::to_string(i), value, {1, 1}));
  }
  entries.push_back(Entry::Make(1, "large", std::string(5'000'000, 'v'), {1, 1}));
  const LegacyRequests out = ToLegacy(entries);
  CHECK(ValuesOf(out).size() == 21);
  std::size_t large = 0;
  for (const auto& request : out.requests) {
    if (request.ByteSizeLong() > sync::kLegacyRequestBytes) {
      ++large;
      CHECK(HoldsOne(request));
    }
  }
  CHECK(large == 1);
  CHECK(out.requests.size() <= 6);
}

TEST_CASE("what such a service holds loses to everything and is the same everywhere") {
  hellorpc::SyncResponse response;
  auto* data = response.add_data();
  data->set_type(7);
  (*data->mutable_data())["k"] = "v";
  (*data->mutable_data())[""] = "no key";
  (*data->mutable_data())[std::string("nul\0", 4)] = "x";
  (*data->mutable_data())[std::string(kMaxKeyBytes + 1, 'k')] = "x";
  const LegacyEntries in = FromLegacy(response);
  CHECK(in.skipped == 3);
  REQUIRE(in.entries.size() == 1);
  CHECK(in.entries[0]->type() == 7);
  CHECK(in.entries[0]->key() == "k");
  CHECK(in.entries[0]->value() == "v");
  CHECK(in.entries[0]->version() == LegacyVersion("v"));
  CHECK(in.entries[0]->version().hlc == 1);
  CHECK(in.entries[0]->version().origin != 0);
}

}  // namespace
}  // namespace podmirror::rpc
