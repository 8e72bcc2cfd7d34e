#include "rpc/requests.h"

#include <catch2/catch.hpp>
#include <string>

namespace podmirror::rpc {
namespace {

v1::SetRequest Sets(std::initializer_list<const char*> keys) {
  v1::SetRequest request;
  for (const char* key : keys) {
    auto* item = request.add_items();
    item->set_type(1);
    item->set_key(key);
    item->set_value("v");
  }
  return request;
}

std::string Refusal(const v1::SetRequest& request, const RequestOptions& options = {}) {
  const auto call = ReadSet(request.SerializeAsString(), options);
  REQUIRE_FALSE(call.ok());
  CHECK(call.status().code() == Code::kInvalid);
  return call.status().message();
}

TEST_CASE("good items are taken in order") {
  v1::SetRequest request = Sets({"a", "b"});
  request.mutable_items(1)->set_ttl_ms(30'000);
  const std::string bytes = request.SerializeAsString();
  const auto call = ReadSet(bytes, {});
  REQUIRE(call.ok());
  const auto* items = &call->items;
  REQUIRE(items->size() == 2);
  CHECK((*items)[0].key == "a");
  CHECK((*items)[0].ttl_ms == 0);
  CHECK((*items)[1].key == "b");
  CHECK((*items)[1].value == "v");
  CHECK((*items)[1].ttl_ms == 30'000);
  CHECK_FALSE((*items)[1].remove);
}

TEST_CASE("the first bad item is named") {
  CHECK(Refusal(Sets({"a", ""})).starts_with("items[1]: a key"));
  v1::SetRequest request = Sets({"a", "b", "c"});
  request.mutable_items(2)->set_key(std::string("n\0l", 3));
  CHECK(Refusal(request).starts_with("items[2]: a key"));
  request.mutable_items(1)->set_key(std::string(513, 'k'));
  CHECK(Refusal(request) == "items[1]: a key is 1 to 512 bytes of UTF-8 without NUL");
  request.mutable_items(0)->set_value(std::string(1024 * 1024 + 1, 'v'));
  CHECK(Refusal(request) == "items[0]: the value is over 1048576 bytes");
  request = Sets({"a"});
  request.mutable_items(0)->set_ttl_ms(-1);
  CHECK(Refusal(request) == "items[0]: ttl_ms out of range: -1");
  request.mutable_items(0)->set_ttl_ms(sync::kMaxTtlMs + 1);
  CHECK(Refusal(request).starts_with("items[0]: ttl_ms out of range"));
  CHECK(Refusal(Sets({"a", "b", "a"})) == "items[2]: the same key twice");
}

TEST_CASE("the same key in two types is two keys") {
  v1::SetRequest request = Sets({"a", "a"});
  request.mutable_items(1)->set_type(2);
  CHECK(ReadSet(request.SerializeAsString(), {}).ok());
}

TEST_CASE("a set request is read as protobuf reads it") {
  v1::SetRequest request = Sets({"a"});
  request.mutable_items(0)->set_type(-7);
  request.mutable_items(0)->set_value(std::string());
  request.mutable_options()->set_ack(v1::ACK_LEVEL_ONE);
  v1::SetRequest more;
  more.mutable_options()->set_timeout_ms(9);
  // A later version's fields, of every kind.
  const std::string unknown =
      "\xf8\x01\x05\xf9\x01"
      "12345678"
      "\xfa\x01\x02xy\xfd\x01"
      "1234";
  const std::string bytes = request.SerializeAsString() + unknown + more.SerializeAsString();
  const auto call = ReadSet(bytes, {});
  REQUIRE(call.ok());
  REQUIRE(call->items.size() == 1);
  CHECK(call->items[0].type == -7);
  CHECK(call->items[0].value.empty());
  CHECK(call->options.ack() == v1::ACK_LEVEL_ONE);
  CHECK(call->options.timeout_ms() == 9);
  // Of a field given twice, the last counts; unknown fields of an item are skipped, too.
  const std::string item = "\x12\x01x" + unknown + "\x12\x01y\x08\x02";
  const std::string whole = "\x0a" + std::string(1, static_cast<char>(item.size())) + item;
  const auto twice = ReadSet(whole, {});
  REQUIRE(twice.ok());
  CHECK(twice->items.at(0).key == "y");
  CHECK(twice->items.at(0).type == 2);
  CHECK(ReadSet("", {})->items.empty());
}

TEST_CASE("what is cut off or no set request is refused") {
  const std::string bytes = Sets({"a", "b"}).SerializeAsString();
  const std::size_t item = bytes.size() / 2;
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    CAPTURE(size);
    CHECK(ReadSet(std::string(bytes, 0, size), {}).ok() == (size % item == 0));
  }
  for (const char* bad : {"\x0c", "\x0f\x01", "\x12\x02\x08", "\x0a\x05\x12\xff\xff\xff\xff",
                          "\x0a\x02\x12\x03"
                          "abc"}) {
    CAPTURE(bad);
    CHECK(ReadSet(bad, {}).status().message() == "not a SetRequest");
  }
  CHECK_FALSE(ReadSet(std::string("\x0a\x00\x00", 3), {}).ok());
}

TEST_CASE("a request is bounded as a whole") {
  RequestOptions options;
  options.max_batch_bytes = 100;
  v1::SetRequest request = Sets({"a"});
  request.mutable_items(0)->set_value(std::string(100, 'v'));
  CHECK(Refusal(request, options).find("at most 100") != std::string::npos);
  CHECK(CheckSize(0, sync::kMaxItems + 1, {}).code() == Code::kInvalid);
  CHECK(CheckSize(100, sync::kMaxItems, options).ok());
}

TEST_CASE("deletes are checked like puts") {
  v1::DeleteRequest request;
  request.add_items()->set_key("a");
  const auto items = ItemsOf(request, {});
  REQUIRE(items.ok());
  CHECK(items->at(0).remove);
  request.add_items()->set_key("a");
  CHECK(ItemsOf(request, {}).status().message() == "items[1]: the same key twice");
}

TEST_CASE("of a legacy request the last value of a key counts") {
  hellorpc::SyncRequest request;
  for (const char* value : {"first", "last"}) {
    auto* data = request.add_data();
    data->set_type(3);
    (*data->mutable_data())["k"] = value;
  }
  const auto items = ItemsOf(request, {});
  REQUIRE(items.ok());
  REQUIRE(items->size() == 2);
  CHECK((*items)[1].value == "last");
  (*request.mutable_data(1)->mutable_data())[""] = "v";
  CHECK(ItemsOf(request, {}).status().message().starts_with("data[1]: a key"));
}

TEST_CASE("options not given are the daemon's") {
  const sync::WriteOptions ours{sync::AckLevel::kMajority, 700};
  v1::WriteOptions wanted;
  auto options = WriteOptionsOf(wanted, ours);
  REQUIRE(options.ok());
  CHECK(options->ack == sync::AckLevel::kMajority);
  CHECK(options->timeout_ms == 700);
  wanted.set_ack(v1::ACK_LEVEL_ONE);
  wanted.set_timeout_ms(0);
  options = WriteOptionsOf(wanted, ours);
  REQUIRE(options.ok());
  CHECK(options->ack == sync::AckLevel::kOne);
  CHECK(options->timeout_ms == 0);
  wanted.set_timeout_ms(-1);
  CHECK(WriteOptionsOf(wanted, ours).status().code() == Code::kInvalid);
  wanted.set_timeout_ms(sync::kMaxAckTimeoutMs + 1);
  CHECK(WriteOptionsOf(wanted, ours).status().code() == Code::kInvalid);
  wanted.set_timeout_ms(5);
  wanted.set_ack(static_cast<v1::AckLevel>(9));
  CHECK(WriteOptionsOf(wanted, ours).status().code() == Code::kInvalid);
}

}  // namespace
}  // namespace podmirror::rpc
