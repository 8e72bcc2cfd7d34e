// The bytes of podmirror.v1.Cache and hellorpc.Sync, which clients of this version rely on: written
// down once, so that a later version can prove that it still speaks with them.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "hellorpc/hellorpc.pb.h"
#include "podmirror/v1/cache.pb.h"

namespace podmirror::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;

struct Golden {
  const char* name;  // of the message
  const char* text;
  const char* hex;
};

const Golden kCache[] = {
    {"Key", R"(type: -1 key: "k")", "08ffffffffffffffffff0112016b"},
    {"Entry", R"(type: 1 key: "a" value: "1" version: "018bcfe568000000-0000000000000001")",
     "08011201611a01312221303138626366653536383030303030302d30303030303030303030303030303031"},
    {"GetRequest", R"(keys { type: -1 key: "k" } keys { type: 2 key: "é" })",
     "0a0e08ffffffffffffffffff0112016b0a0608021202c3a9"},
    {"GetResponse",
     R"(entries { type: -1 key: "k" value: "\000\377" ttl_ms: 1500
                  version: "018bcfe568000000-00000000000000ff" })",
     "0a3808ffffffffffffffffff0112016b1a0200ff2221303138626366653536383030303030302d303030303030303"
     "0"
     "303030303030666628dc0b"},
    {"WriteOptions", "ack: ACK_LEVEL_ALL timeout_ms: 0", "08041000"},
    {"AckResult", R"(required: ACK_LEVEL_MAJORITY met: true peers: 2 acked: 1 pending: "p-2")",
     "08031001180220012a03702d32"},
    {"SetItem", R"(type: 7 key: "k" value: "v" ttl_ms: 30000)", "080712016b1a017620b0ea01"},
    {"SetRequest",
     R"(items { type: 7 key: "k" value: "v" ttl_ms: 30000 }
        options { ack: ACK_LEVEL_ALL timeout_ms: 0 })",
     "0a0c080712016b1a017620b0ea01120408041000"},
    {"SetResponse",
     R"(set: 1 version: "018bcfe568000000-00000000000000ff"
        ack { required: ACK_LEVEL_MAJORITY met: true peers: 2 acked: 1 pending: "p-2" })",
     "08011221303138626366653536383030303030302d303030303030303030303030303066661a0d080310011802200"
     "1"
     "2a03702d32"},
    {"DeleteItem", R"(type: 7 key: "k")", "080712016b"},
    {"DeleteRequest",
     R"(items { type: 7 key: "k" } options { ack: ACK_LEVEL_ONE timeout_ms: 250 })",
     "0a05080712016b1205080210fa01"},
    {"DeleteResponse",
     R"(deleted: 1 version: "018bcfe568000000-00000000000000ff"
        ack { required: ACK_LEVEL_LOCAL met: true })",
     "08011221303138626366653536383030303030302d303030303030303030303030303066661a0408011001"},
    {"TouchItem", R"(type: 7 key: "k" ttl_ms: 30000)", "080712016b18b0ea01"},
    {"TouchRequest",
     R"(items { type: 7 key: "k" ttl_ms: 30000 } options { ack: ACK_LEVEL_ONE timeout_ms: 250 })",
     "0a09080712016b18b0ea011205080210fa01"},
    {"TouchResponse",
     R"(touched: 1 missing: 2 version: "018bcfe568000000-00000000000000ff"
        ack { required: ACK_LEVEL_LOCAL met: true })",
     "080110021a21303138626366653536383030303030302d3030303030303030303030303030666622040801"
     "1001"},
    {"DeletePrefixRequest",
     R"(type: 7 prefix: "a/" options { ack: ACK_LEVEL_ONE timeout_ms: 250 })",
     "08071202612f1a05080210fa01"},
    {"GetAllRequest", R"(keys_only: true)", "1801"},
    {"GetAllRequest", R"(types: 1 types: -2 prefix: "p/")", "0a0b01feffffffffffffffff011202702f"},
    {"GetAllResponse",
     R"(entries { type: 1 key: "a" value: "1" version: "018bcfe568000000-0000000000000001" })",
     "0a2b08011201611a01312221303138626366653536383030303030302d303030303030303030303030303030"
     "31"},
    {"WatchRequest",
     R"(types: 1 types: -2 prefix: "p/" initial: true since: "00000000000000ab-0000000000000007")",
     "0a0b01feffffffffffffffff011202702f18012221303030303030303030303030303061622d30303030303030303"
     "0"
     "30303030303037"},
    {"WatchResponse", R"(events { kind: KIND_SYNCED id: "00000000000000ab-0000000000000007" })",
     "0a2508031221303030303030303030303030303061622d30303030303030303030303030303037"},
    {"WatchEvent",
     R"(kind: KIND_DELETE id: "00000000000000ab-0000000000000007" reason: REASON_EXPIRED
        entry { type: 7 key: "k" version: "018bcfe568000000-00000000000000ff" })",
     "08021221303030303030303030303030303061622d303030303030303030303030303030371a28080712016b22213"
     "0"
     "3138626366653536383030303030302d303030303030303030303030303066662002"},
};

// Both ways, for every message of the file.
TEST_CASE("every message of Cache has the bytes that clients of this version know") {
  const FileDescriptor& file = *v1::Key::descriptor()->file();
  std::set<std::string> names;
  for (const Golden& golden : kCache) {
    INFO(golden.name);
    names.insert(golden.name);
    const Descriptor* descriptor = file.FindMessageTypeByName(golden.name);
    REQUIRE(descriptor != nullptr);
    const Message* prototype = MessageFactory::generated_factory()->GetPrototype(descriptor);
    const std::unique_ptr<Message> meant(prototype->New());
    REQUIRE(google::protobuf::TextFormat::ParseFromString(golden.text, meant.get()));
    CHECK(absl::BytesToHexString(meant->SerializeAsString()) == golden.hex);
    const std::unique_ptr<Message> read(prototype->New());
    REQUIRE(read->ParseFromString(absl::HexStringToBytes(golden.hex)));
    CHECK(google::protobuf::util::MessageDifferencer::Equals(*meant, *read));
  }
  for (int i = 0; i < file.message_type_count(); ++i) {
    CHECK(names.contains(file.message_type(i)->name()));
  }
}

// Without reflection: over a map it needs a protobuf that was itself built for ThreadSanitizer.
TEST_CASE("the messages of hellorpc have the bytes that old services know") {
  const std::string data = absl::HexStringToBytes("080112060a016b120176");
  const std::string list = absl::HexStringToBytes("0a0a080112060a016b120176");
  hellorpc::SyncData item;
  item.set_type(1);
  (*item.mutable_data())["k"] = "v";
  CHECK(item.SerializeAsString() == data);
  hellorpc::SyncRequest request;
  *request.add_data() = item;
  CHECK(request.SerializeAsString() == list);
  hellorpc::SyncResponse response;
  REQUIRE(response.ParseFromString(list));
  REQUIRE(response.data_size() == 1);
  CHECK(response.data(0).type() == 1);
  CHECK(response.data(0).data().at("k") == "v");
}

}  // namespace
}  // namespace podmirror::rpc
