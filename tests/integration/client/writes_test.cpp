// Writes of a client at real daemons: conditions, touches, deletes by prefix.
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "integration/client/client_testing.h"
#include "integration/rpc/daemon.h"

namespace podmirror::client {
namespace {

using std::chrono::seconds;

struct Two {
  Two() {
    REQUIRE(rpc::Connect({&a, &b}));
    auto made = Client::New({}, std::make_unique<TestSource>(std::vector<int>{a.port()}));
    REQUIRE(made.ok());
    client = std::move(*made);
  }

  WriteResult Set(const std::string& key, const std::string& value) const {
    auto result = client->Set({{.type = 1, .key = key, .value = value}});
    REQUIRE(result.ok());
    return *result;
  }
  std::string ValueOf(const std::string& key) const {
    const auto entry = client->Get(1, key);
    return entry.ok() ? entry->value : "";
  }

  rpc::Daemon a{{"a"}};
  rpc::Daemon b{{"b"}};
  std::unique_ptr<Client> client;
};

TEST_CASE_METHOD(Two, "client: a write is applied only if its condition holds") {
  const std::vector<Item> item = {{.type = 1, .key = "k", .value = "one"}};
  const auto first = client->Set(item, {.if_absent = true});
  REQUIRE(first.ok());
  CHECK(first->met);
  CHECK(first->required == Ack::kAll);
  CHECK(first->acked == 1);

  const auto again = client->Set(item, {.if_absent = true});
  CHECK(again.status().code() == Code::kPrecondition);
  CHECK(again.status().message().ends_with("precondition-failed: " + first->version));

  const std::vector<Item> next = {{.type = 1, .key = "k", .value = "two"}};
  const auto second = client->Set(next, {.if_version = first->version});
  REQUIRE(second.ok());
  CHECK(client->Set(next, {.if_version = first->version}).status().code() == Code::kPrecondition);
  CHECK(ValueOf("k") == "two");

  const std::vector<Key> key = {{1, "k"}};
  CHECK(client->Delete(key, {.if_version = first->version}).status().code() == Code::kPrecondition);
  CHECK(client->Delete(key, {.if_version = second->version}).ok());
  const auto gone = client->Delete(key, {.if_version = second->version});
  CHECK(gone.status().code() == Code::kPrecondition);
  CHECK(gone.status().message().ends_with("precondition-failed: none"));
}

TEST_CASE_METHOD(Two, "client: of two that race one is done, and the other is told who won") {
  const std::string base = Set("k", "base").version;
  // The other daemon takes a greater write of the same base before it hears of ours.
  const EntryRef greater = podmirror::Entry::Make(
      1, "k", "theirs", {ParseVersion(base)->hlc + (std::uint64_t{5000} << 20), 7});
  b.cache().Merge(greater, 0);
  const auto lost = client->Set({{.type = 1, .key = "k", .value = "ours"}}, {.if_version = base});
  CHECK(lost.status().code() == Code::kConflict);
  CHECK(lost.status().message().ends_with("conflict: " + greater->version().ToString()));
}

TEST_CASE_METHOD(Two, "client: conditions that cannot be are refused") {
  const std::vector<Item> items = {{.type = 1, .key = "k", .value = "v"},
                                   {.type = 1, .key = "l", .value = "v"}};
  const auto refused = [&](const Result<WriteResult>& result) {
    CHECK(result.status().code() == Code::kInvalid);
  };
  refused(client->Set(items, {.if_absent = true}));
  refused(client->Set({items[0]}, {.if_version = "x"}));
  refused(client->Set({items[0]}, {.ack = Ack::kOne, .if_absent = true}));
  refused(client->Set({items[0]}, {.if_version = Version{1, 2}.ToString(), .if_absent = true}));
  refused(client->Delete({{1, "k"}}, {.if_absent = true}));
  refused(client->Touch({{1, "k"}}, seconds(1), {.if_absent = true}));
  refused(client->DeletePrefix(1, "", {.if_version = Version{1, 2}.ToString()}));
  // What stands for "none" is no condition that holds always.
  refused(client->Set({items[0]}, {.if_version = ""}));
  refused(client->Set({}, {.if_absent = true}));
  refused(client->Delete({}, {.if_version = Version{1, 2}.ToString()}));
  CHECK(a.cache().Stats().entries == 0);
}

TEST_CASE_METHOD(Two, "client: a touch changes the time to live alone, and brings nothing back") {
  const std::string before = Set("k", "v").version;
  const auto touched = client->Touch({{1, "k"}, {1, "none"}}, seconds(60));
  REQUIRE(touched.ok());
  CHECK(touched->count == 1);
  CHECK(touched->version > before);
  CHECK(touched->acked == 1);
  const auto entry = client->Get(1, "k");
  REQUIRE(entry.ok());
  CHECK(entry->value == "v");
  CHECK(entry->version == touched->version);
  CHECK(entry->ttl > seconds(50));
  CHECK(entry->ttl <= seconds(60));
  CHECK(b.cache().Find(1, "k", 0)->version().ToString() == touched->version);

  const auto none = client->Touch({{1, "none"}}, seconds(60));
  REQUIRE(none.ok());
  CHECK(none->count == 0);
  CHECK(none->version.empty());
  CHECK_FALSE(client->Get(1, "none").ok());
  CHECK(client->Touch({{1, "k"}}, milliseconds(0)).status().code() == Code::kInvalid);
  CHECK(client->Touch({{1, "k"}}, seconds(-1)).status().code() == Code::kInvalid);
}

TEST_CASE_METHOD(Two, "client: what begins with a prefix is deleted, and nothing else") {
  for (int i = 0; i < 500; ++i) Set("a/" + std::to_string(i), "v");
  Set("a", "v");
  Set("b/1", "v");
  REQUIRE(client->Set({{.type = 2, .key = "a/1", .value = "v"}}).ok());
  const auto deleted = client->DeletePrefix(1, "a/");
  REQUIRE(deleted.ok());
  CHECK(deleted->count == 500);
  CHECK(deleted->met);
  CHECK(a.cache().Stats().entries == 3);
  CHECK(b.cache().Stats().entries == 3);
  CHECK(a.cache().digest() == b.cache().digest());

  const auto nothing = client->DeletePrefix(1, "a/");
  REQUIRE(nothing.ok());
  CHECK(nothing->count == 0);
  CHECK(nothing->version.empty());
  CHECK(client->DeletePrefix(1, "\xff").status().code() == Code::kInvalid);
  CHECK(client->DeletePrefix(1, std::string(10'000, 'a')).status().code() == Code::kInvalid);
  CHECK(client->DeletePrefix(1, "")->count == 2);
}

TEST_CASE("client: more than 100,000 are not deleted by prefix at once") {
  rpc::Daemon daemon({"a"});
  REQUIRE(rpc::Connect({&daemon}));
  for (int i = 0; i <= 100'000; ++i) {
    daemon.cache().Merge(podmirror::Entry::Make(1, "k" + std::to_string(i), "v", {5, 7}), 0);
  }
  auto made = Client::New({}, std::make_unique<TestSource>(std::vector<int>{daemon.port()}));
  REQUIRE(made.ok());
  const auto refused = (*made)->DeletePrefix(1, "k");
  CHECK(refused.status().code() == Code::kInvalid);
  CHECK(refused.status().message().ends_with("batch-too-large"));
  CHECK(daemon.cache().Stats().entries == 100'001);
}

TEST_CASE_METHOD(Two, "client: keys are listed without their values") {
  const std::string large(100'000, 'v');
  for (int i = 0; i < 20; ++i) Set("a/" + std::to_string(i), large);
  Set("b", "v");
  std::vector<Entry> keys;
  const auto each = [&](Entry entry) {
    keys.push_back(std::move(entry));
    return true;
  };
  REQUIRE(client->GetAllKeys({.types = {1}, .prefix = "a/"}, each).ok());
  CHECK(keys.size() == 20);
  for (const Entry& entry : keys) {
    CHECK(entry.value.empty());
    CHECK(entry.version == client->Get(1, entry.key)->version);
  }
}

}  // namespace
}  // namespace podmirror::client
