#include "discovery/registry_record.h"

#include <catch2/catch.hpp>
#include <map>

#include "discovery/peer_rules.h"

namespace podmirror::discovery {
namespace {

RegistryRecord Record(const std::string& uid, const std::string& ip, WallMs started) {
  RegistryRecord record;
  record.name = "name-" + uid;
  record.uid = uid;
  record.address = {.host = ip, .port = 7070, .is_ip = true};
  record.started_at_ms = started;
  return record;
}

// The set that a daemon of this identity makes of the entries.
PeerSet SetOf(const RegistryRecord& self, const std::map<std::string, std::string>& entries) {
  const RecordRules rules = RegistryRules(self);
  std::vector<Judgement> judgements;
  for (const auto& [key, value] : entries) {
    Result<Judgement> judgement = rules.judge(key, value);
    REQUIRE(judgement.ok());
    judgements.push_back(std::move(*judgement));
  }
  std::vector<const Judgement*> pointers;
  for (const Judgement& judgement : judgements) pointers.push_back(&judgement);
  return rules.make_set(pointers, "/a/b");
}

std::string Reason(const std::string& key, const std::string& value) {
  const Result<RegistryRecord> record = DecodeRegistryRecord(key, value);
  REQUIRE_FALSE(record.ok());
  CHECK(record.status().code() == Code::kInvalid);
  return record.status().message();
}

TEST_CASE("what a daemon writes of itself is what others read") {
  for (const char* ip : {"10.0.0.7", "fd00::1"}) {
    RegistryRecord written = Record("u-1", ip, 1'700'000'000'123);
    written.ready = true;
    const Result<RegistryRecord> read =
        DecodeRegistryRecord("/a/b/ignored", EncodeRegistryRecord(written));
    REQUIRE(read.ok());
    CHECK(read->name == "name-u-1");
    CHECK(read->uid == "u-1");
    CHECK(read->address.ToString() == written.address.ToString());
    CHECK(read->ready);
    CHECK(read->started_at_ms == 1'700'000'000'123);
  }
}

TEST_CASE("entries of other programs: the address is the value, or in JSON, or the key's end") {
  const std::string key = "/svc/web/10.0.0.1:80";
  const auto address = [](const std::string& at, const std::string& value) {
    const Result<RegistryRecord> record = DecodeRegistryRecord(at, value);
    INFO(at << " = " << value << ": " << record.status().ToString());
    REQUIRE(record.ok());
    CHECK(record->uid.empty());
    CHECK(record->name == record->address.ToString());
    return record->address.ToString();
  };
  CHECK(address(key, "10.0.0.2:81") == "10.0.0.2:81");
  CHECK(address("/svc/web/node-1", " 10.0.0.2:81\n") == "10.0.0.2:81");
  CHECK(address("/svc/web/node-1", "[FD00::0:1]:81") == "[fd00::1]:81");
  CHECK(address(key, "") == "10.0.0.1:80");
  CHECK(address(key, "weight=7") == "10.0.0.1:80");
  CHECK(address(key, R"({"Op":0,"Metadata":null})") == "10.0.0.1:80");
  CHECK(address("/svc/web/x", R"({"address":"10.0.0.3:82"})") == "10.0.0.3:82");
}

TEST_CASE("an entry that cannot be a peer says why") {
  CHECK(Reason("/a/b/c", "nothing") == "neither its value nor its key is an address, ip:port");
  CHECK(Reason("/a/b/c", "cache.example.org:80").starts_with("neither"));
  CHECK(Reason("/a/b/1.2.3.4:5", "{\"address\":") == "not JSON");
  CHECK(Reason("/a/b/1.2.3.4:5", R"({"address":7})") == "address is not a string");
  CHECK(Reason("/a/b/1.2.3.4:5", R"({"address":"host:7"})") ==
        "address: the host is not an IP address");
  CHECK(Reason("/a/b/1.2.3.4:5", R"({"ready":"yes"})") == "ready is not true or false");
  CHECK(Reason("/a/b/1.2.3.4:5", R"({"started_at":"today"})") == "started_at is not a time");
  CHECK(Reason("/a/b/1.2.3.4:5", "{\"uid\":\"a\\u0001b\"}") == "uid is not plain text");
  CHECK(Reason("/a/b/1.2.3.4:5", R"({"name":")" + std::string(254, 'x') + "\"}") ==
        "name is not plain text");
  CHECK(Reason("/a/b/1.2.3.4:5", std::string(70'000, ' ')) == "longer than 64 KiB");
  CHECK(Reason("/a/b/1.2.3.4:5", "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}") ==
        "not JSON");
}

TEST_CASE("the set: everybody but us, oldest first, each once") {
  const RegistryRecord self = Record("u-0", "10.0.0.1", 5000);
  const RegistryRecord older = Record("u-1", "10.0.0.2", 3000);
  const RegistryRecord younger = Record("u-2", "fd00::2", 9000);
  const RegistryRecord left_over = Record("u-3", "10.0.0.2", 1000);  // of who was there before
  const RegistryRecord moved = Record("u-2", "10.0.0.9", 2000);      // before it moved
  const PeerSet set = SetOf(self, {{"/a/b/10.0.0.1:7070", EncodeRegistryRecord(self)},
                                   {"/a/b/10.0.0.2:7070", EncodeRegistryRecord(older)},
                                   {"/a/b/old", EncodeRegistryRecord(left_over)},
                                   {"/a/b/moved", EncodeRegistryRecord(moved)},
                                   {"/a/b/[fd00::2]:7070", EncodeRegistryRecord(younger)},
                                   {"/a/b/10.0.0.2:7071", "10.0.0.2:7071"},
                                   {"/a/b/plain", "10.0.0.2:7070"}});
  CHECK(set.self_listed);
  CHECK(set.self_started_at_ms == 5000);
  CHECK(set.where == "/a/b");
  REQUIRE(set.peers.size() == 3);
  CHECK(set.peers[0].uid == "u-1");
  CHECK(set.peers[0].ip == "10.0.0.2");
  CHECK(set.peers[1].uid == "u-2");
  CHECK(set.peers[1].ip == "fd00::2");
  CHECK(set.peers[1].port == 7070);
  CHECK(set.peers[2].name == "10.0.0.2:7071");
}

TEST_CASE("only our own UID at our own address lists us, and nobody at our address is a peer") {
  const RegistryRecord self = Record("u-0", "10.0.0.1", 5000);
  const auto listed = [&](const RegistryRecord& entry) {
    const PeerSet set = SetOf(self, {{"/a/b/c", EncodeRegistryRecord(entry)}});
    CHECK(set.peers.empty());
    return set.self_listed;
  };
  CHECK(listed(self));
  CHECK_FALSE(listed(Record("u-0", "10.0.0.2", 4000)));
  CHECK_FALSE(listed(Record("u-9", "10.0.0.1", 4000)));
  CHECK_FALSE(SetOf(self, {}).self_listed);
}

TEST_CASE("who only reads has a set of everybody, and one that counts") {
  const RecordRules rules = RegistryRulesOfClient();
  const auto daemon = rules.judge("/a/b/c", EncodeRegistryRecord(Record("u-1", "10.0.0.2", 3000)));
  const auto plain = rules.judge("/a/b/d", "10.0.0.3:7070");  // of no UID, as a client has none
  REQUIRE(daemon.ok());
  REQUIRE(plain.ok());
  const PeerSet set = rules.make_set({&*daemon, &*plain}, "/a/b");
  CHECK(set.self_listed);
  CHECK(set.where == "/a/b");
  REQUIRE(set.peers.size() == 2);
  CHECK(set.peers[0].uid == "u-1");
  CHECK(set.peers[1].ip == "10.0.0.3");
  CHECK_FALSE(rules.judge("/a/b/c", "nothing").ok());
}

}  // namespace
}  // namespace podmirror::discovery
