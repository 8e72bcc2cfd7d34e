#include "discovery/pod_store.h"

#include "fixtures.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

class Store {
 public:
  Store()
      : store_(Rules(),
               [this](const std::string& key, const std::string&) { unreadable_.push_back(key); }) {
  }

  ReadRecord Read(int number, std::int64_t revision) const {
    const std::string name = "relay-" + std::to_string(number);
    json pod = RunningPod();
    pod["metadata"]["name"] = name;
    pod["metadata"]["uid"] = "u-" + std::to_string(number);
    pod["status"]["podIP"] = "10.0.0." + std::to_string(number);
    return store_.Read(Key(number), revision, pod.dump());
  }
  ReadRecord Garbage(int number, std::int64_t revision) const {
    return store_.Read(Key(number), revision, "garbage");
  }
  static std::string Key(int number) { return "/r/pods/default/relay-" + std::to_string(number); }

  std::vector<std::string> Peers() const {
    std::vector<std::string> names;
    for (const PodRecord& peer : store_.MakeSet("").peers) names.push_back(peer.name);
    return names;
  }
  PodStore* operator->() { return &store_; }
  const std::vector<std::string>& unreadable() const { return unreadable_; }

 private:
  static PeerRules Rules() {
    PodFilter filter;
    filter.ns = "default";
    filter.service = "relay";
    Result<PeerRules> rules = PeerRules::New(filter);
    REQUIRE(rules.ok());
    return *rules;
  }

  std::vector<std::string> unreadable_;
  PodStore store_;
};

using Names = std::vector<std::string>;

std::vector<ReadRecord> ListOf(ReadRecord a, ReadRecord b) {
  std::vector<ReadRecord> records;
  records.push_back(std::move(a));
  records.push_back(std::move(b));
  return records;
}

TEST_CASE("a list replaces everything, also with older revisions") {
  Store store;
  REQUIRE(store->Replace(ListOf(store.Read(1, 10), store.Read(2, 11))).ok());
  CHECK(store.Peers() == Names{"relay-1", "relay-2"});
  REQUIRE(store->Replace(ListOf(store.Read(2, 3), store.Read(3, 4))).ok());
  CHECK(store.Peers() == Names{"relay-2", "relay-3"});
}

TEST_CASE("a change that is not newer does nothing") {
  Store store;
  REQUIRE(store->Put(store.Read(1, 10)).ok());
  store->Erase(Store::Key(1), 10);
  store->Erase(Store::Key(1), 9);
  CHECK(store.Peers() == Names{"relay-1"});
  store->Erase(Store::Key(1), 11);
  CHECK(store.Peers().empty());
  REQUIRE(store->Put(store.Read(1, 12)).ok());
  CHECK(store.Peers() == Names{"relay-1"});
  store->Erase("/r/pods/default/other", 13);
}

TEST_CASE("a directory that is gone takes its records with it and no others") {
  Store store;
  REQUIRE(store->Replace(ListOf(store.Read(1, 10), store.Read(2, 30))).ok());
  store->EraseBelow("/r/pods/defaul/", 20);
  CHECK(store.Peers() == Names{"relay-1", "relay-2"});
  store->EraseBelow("/r/pods/default/", 20);
  CHECK(store.Peers() == Names{"relay-2"});
}

TEST_CASE("an unreadable record keeps what was known and is told once per revision") {
  Store store;
  REQUIRE(store->Replace(ListOf(store.Read(1, 10), store.Garbage(2, 11))).ok());
  CHECK(store.unreadable() == Names{Store::Key(2)});
  REQUIRE(store->Replace(ListOf(store.Garbage(1, 12), store.Garbage(2, 11))).ok());
  CHECK(store.unreadable() == Names{Store::Key(2), Store::Key(1)});
  CHECK(store.Peers() == Names{"relay-1"});
  REQUIRE(store->Put(store.Garbage(2, 13)).ok());
  CHECK(store.unreadable().size() == 3);
  REQUIRE(store->Put(store.Read(2, 14)).ok());
  CHECK(store.Peers() == Names{"relay-1", "relay-2"});
  store->Erase(Store::Key(1), 15);
  CHECK(store.Peers() == Names{"relay-2"});
}

}  // namespace
}  // namespace podmirror::discovery
