// One pod is the same peer whichever source tells of it: every captured record, as each source that
// can carry it would carry it.
#include <nlohmann/json.hpp>

#include "discovery/kube_api_codec.h"
#include "discovery/kube_api_stream.h"
#include "discovery/pod_store.h"
#include "fixtures.h"
#include "kubernetes/api.pb.h"
#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

constexpr std::int64_t kRevision = 77;

PeerRules RulesOf(const PodFilter& filter) {
  Result<PeerRules> rules = PeerRules::New(filter);
  REQUIRE(rules.ok());
  return std::move(*rules);
}

PodStore StoreOf(const PodFilter& filter) {
  return PodStore(RulesOf(filter), [](const std::string& key, const std::string& reason) {
    FAIL(key << " is unreadable: " << reason);
  });
}

// A record as JSON, made of what expected.json says of it: not with our own decoder.
json ToJson(const json& expected) {
  json statuses = json::array();
  for (const json& container : expected.at("containers")) {
    json state = json::object();
    for (const json& name : container.at("state")) state[name] = json::object();
    if (state.contains("running")) {
      state["running"]["startedAt"] = container.at("runningStartedAt");
    }
    statuses.push_back(
        {{"name", container.at("name")}, {"ready", container.at("ready")}, {"state", state}});
  }
  json ips = json::array();
  for (const json& ip : expected.at("podIPs")) ips.push_back({{"ip", ip}});
  json pod = {{"kind", "Pod"},
              {"apiVersion", "v1"},
              {"metadata",
               {{"name", expected.at("name")},
                {"namespace", expected.at("namespace")},
                {"uid", expected.at("uid")},
                {"creationTimestamp", expected.at("creationTimestamp")},
                {"deletionTimestamp", expected.at("deletionTimestamp")},
                {"managedFields", {{{"manager", "kubelet"}}}}}},
              {"spec", {{"containers", {{{"name", "relay"}}}}}},
              {"status",
               {{"phase", expected.at("phase")},
                {"podIP", expected.at("podIP")},
                {"podIPs", ips},
                {"hostIP", expected.at("hostIP")},
                {"startTime", expected.at("startTime")},
                {"containerStatuses", statuses}}}};
  if (!expected.at("labels").empty()) pod["metadata"]["labels"] = expected.at("labels");
  if (!expected.at("Ready").is_null()) {
    pod["status"]["conditions"] = {{{"type", "Ready"}, {"status", expected.at("Ready")}}};
  }
  return pod;
}

std::string Wrapped(const std::string& kind, const std::string& raw) {
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind(kind);
  unknown.set_raw(raw);
  return std::string("k8s\0", 4) + unknown.SerializeAsString();
}

// The Pod of a stored record as the API gives it out: it knows the revision.
std::string ServedPod(const std::string& stored) {
  kubernetes::Unknown unknown;
  kubernetes::Pod pod;
  REQUIRE(unknown.ParseFromString(stored.substr(4)));
  REQUIRE(pod.ParseFromString(unknown.raw()));
  pod.mutable_metadata()->set_resource_version(std::to_string(kRevision));
  return pod.SerializeAsString();
}

std::string FrameOf(const std::string& pod) {
  kubernetes::WatchEvent event;
  event.set_type("ADDED");
  event.mutable_object()->set_raw(Wrapped("Pod", pod));
  const std::string bytes = event.SerializeAsString();
  const auto size = static_cast<unsigned>(bytes.size());
  return std::string{static_cast<char>(size >> 24), static_cast<char>(size >> 16 & 255),
                     static_cast<char>(size >> 8 & 255), static_cast<char>(size & 255)} +
         bytes;
}

PeerSet FromStore(const PodFilter& filter, const std::string& value) {
  PodStore store = StoreOf(filter);
  REQUIRE(store.Replace({store.Read("key", kRevision, value)}).ok());
  return store.MakeSet("here");
}

PeerSet FromV2(const PodFilter& filter, const std::string& value) {
  const json answer = json::parse(json{{"node", {{"value", value}}}}.dump());
  return FromStore(filter, answer.at("node").at("value"));
}

PeerSet FromList(const PodFilter& filter, const std::string& body) {
  const PeerRules rules = RulesOf(filter);
  PodStore store = StoreOf(filter);
  std::vector<ReadRecord> records;
  const Result<KubeListPage> page = DecodeKubeList(body, [&](KubePod pod) {
    records.push_back(ReadPod(rules, pod.name, pod.revision, pod.pod));
  });
  INFO(page.status().ToString());
  REQUIRE(page.ok());
  REQUIRE(store.Replace(std::move(records)).ok());
  return store.MakeSet("here");
}

// Byte by byte, as slow as a stream can come.
PeerSet FromWatch(const PodFilter& filter, const std::string& body) {
  const PeerRules rules = RulesOf(filter);
  PodStore store = StoreOf(filter);
  KubeWatchStream stream;
  for (const char byte : body) {
    const Status status = stream.Add({&byte, 1}, [&](std::string_view frame) {
      Result<KubeEvent> event = DecodeKubeEvent(frame);
      INFO(event.status().ToString());
      REQUIRE(event.ok());
      REQUIRE(event->pod.has_value());
      return store.Put(ReadPod(rules, event->pod->name, event->pod->revision, event->pod->pod));
    });
    REQUIRE(status.ok());
  }
  CHECK_FALSE(stream.mid_frame());
  return store.MakeSet("here");
}

PeerSet FromJsonList(const PodFilter& filter, json pod) {
  pod.erase("kind");
  pod.erase("apiVersion");
  return FromList(filter, json{{"kind", "PodList"},
                               {"apiVersion", "v1"},
                               {"metadata", {{"resourceVersion", "78"}}},
                               {"items", {pod}}}
                              .dump(2));
}

// Whether expected.json describes a pod that is a peer, by the rules of the design.
bool IsPeer(const json& expected) {
  if (expected.at("phase") != "Running" || expected.at("podIP") == "") return false;
  if (!expected.at("deletionTimestamp").is_null()) return false;
  for (const json& container : expected.at("containers")) {
    if (container.at("name") == "relay") return !container.at("runningStartedAt").is_null();
  }
  return false;
}

// One record, stored as JSON and as protobuf, by all ways: the set that all give.
PeerSet FromEverywhere(const PodFilter& filter, json as_json, const std::string& stored) {
  const std::string served = ServedPod(stored);
  kubernetes::PodList list;
  list.mutable_metadata()->set_resource_version("78");
  list.add_items(served);

  const PeerSet v3_protobuf = FromStore(filter, stored);
  CHECK(FromStore(filter, as_json.dump() + "\n") == v3_protobuf);
  CHECK(FromV2(filter, as_json.dump()) == v3_protobuf);
  as_json["metadata"]["resourceVersion"] = std::to_string(kRevision);
  CHECK(FromList(filter, Wrapped("PodList", list.SerializeAsString())) == v3_protobuf);
  CHECK(FromWatch(filter, FrameOf(served)) == v3_protobuf);
  CHECK(FromJsonList(filter, as_json) == v3_protobuf);
  CHECK(FromWatch(filter, json{{"type", "ADDED"}, {"object", as_json}}.dump() + "\n") ==
        v3_protobuf);
  return v3_protobuf;
}

// What a peer is made of, of a pod in JSON, as Kubernetes would store it in protobuf: all that run
// have been started at the same time.
std::string ToProtobuf(const json& record, std::int64_t started_at_seconds) {
  const json& metadata = record.at("metadata");
  const json& status = record.at("status");
  const json none = json::array();
  kubernetes::Pod pod;
  pod.mutable_metadata()->set_name(metadata.at("name"));
  pod.mutable_metadata()->set_namespace_(metadata.at("namespace"));
  pod.mutable_metadata()->set_uid(metadata.at("uid"));
  const json annotations = metadata.value("annotations", json::object());
  for (const auto& [key, value] : annotations.items()) {
    kubernetes::Label& annotation = *pod.mutable_metadata()->add_annotations();
    annotation.set_key(key);
    annotation.set_value(value);
  }
  const auto add_specs = [](const json& from, auto* to) {
    for (const json& container : from) {
      kubernetes::Container& spec = *to->Add();
      spec.set_name(container.at("name"));
      if (container.contains("restartPolicy")) {
        spec.set_restart_policy(container.at("restartPolicy"));
      }
    }
  };
  add_specs(record.at("spec").at("containers"), pod.mutable_spec()->mutable_containers());
  add_specs(record.at("spec").value("initContainers", none),
            pod.mutable_spec()->mutable_init_containers());
  pod.mutable_status()->set_phase(status.at("phase"));
  pod.mutable_status()->set_pod_ip(status.at("podIP"));
  for (const json& from : status.at("conditions")) {
    auto& condition = *pod.mutable_status()->add_conditions();
    condition.set_type(from.at("type"));
    condition.set_status(from.at("status"));
  }
  const auto add_statuses = [&](const json& from, auto* to) {
    for (const json& container : from) {
      kubernetes::ContainerStatus& state = *to->Add();
      state.set_name(container.at("name"));
      state.set_ready(container.at("ready"));
      if (!container.at("state").contains("running")) continue;
      state.mutable_state()->mutable_running()->mutable_started_at()->set_seconds(
          started_at_seconds);
    }
  };
  add_statuses(status.at("containerStatuses"), pod.mutable_status()->mutable_container_statuses());
  add_statuses(status.value("initContainerStatuses", none),
               pod.mutable_status()->mutable_init_container_statuses());
  return Wrapped("Pod", pod.SerializeAsString());
}

TEST_CASE("every record gives the same peer set whichever source carries it") {
  const bool by_name = GENERATE(true, false);
  const json expected = json::parse(Fixture("expected.json"));
  int records = 0;
  int peers = 0;
  for (const auto& [file, fields] : expected.items()) {
    if (!file.ends_with(".etcdvalue") || fields.contains("encoding")) continue;
    INFO(file);
    PodFilter filter;
    filter.ns = fields.at("namespace");
    filter.container = "relay";
    filter.peer_port = 7070;
    if (by_name) {
      filter.service = "-";
    } else {
      filter.selector = "app=relay,track=stable";
    }
    const std::string stored = Fixture(file);
    const PeerSet set = FromEverywhere(filter, ToJson(fields), stored);
    const bool selected =
        !filter.service.empty() || (fields.at("labels").value("app", "") == "relay" &&
                                    fields.at("labels").value("track", "") == "stable");
    CHECK(set.peers.size() == (IsPeer(fields) && selected ? 1 : 0));
    ++records;
    peers += static_cast<int>(set.peers.size());
  }
  CHECK(records == 20);
  CHECK(peers >= 7);
}

TEST_CASE("records that Kubernetes stored as JSON give the same peer set, too") {
  struct Case {
    std::string stored;
    std::int64_t started_at_seconds;
    const char* ip;
  };
  const json of_2017 = json::parse(Fixture("etcd-v2-2017/registry-pods-default.json"));
  std::vector<Case> cases = {{StoredPod("stored-json"), 1709287205, "10.1.1.21"}};
  for (const json& node : of_2017.at("node").at("nodes")) {
    cases.push_back({node.at("value"), 1495534229, "172.80.13.4"});
  }
  for (const Case& wanted : cases) {
    const json record = json::parse(wanted.stored);
    INFO(record.at("metadata").at("name"));
    PodFilter filter;
    filter.ns = record.at("metadata").at("namespace");
    filter.service = "-";
    filter.peer_port = 7070;
    const PeerSet set =
        FromEverywhere(filter, record, ToProtobuf(record, wanted.started_at_seconds));
    REQUIRE(set.peers.size() == 1);
    CHECK(set.peers[0].ip == wanted.ip);
    CHECK(set.peers[0].started_at_ms == wanted.started_at_seconds * 1000);
  }
}

TEST_CASE("a sidecar is the same peer whichever source tells of it") {
  PodFilter filter;
  filter.ns = "default";
  filter.service = "relay";
  filter.container = "relay";
  filter.peer_port = 7070;
  const json record = SidecarPod();
  const PeerSet set = FromEverywhere(filter, record, ToProtobuf(record, 1709287205));
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].phase == "Pending");
  CHECK(set.peers[0].ready);
  CHECK(set.peers[0].started_at_ms == 1709287205000);
}

TEST_CASE("a static pod has the UID that its kubelet gave it, whichever source tells of it") {
  PodFilter filter;
  filter.ns = "default";
  filter.service = "relay";
  filter.peer_port = 7070;
  const json record = MirrorPod();
  PeerSet set = FromEverywhere(filter, record, ToProtobuf(record, 1709287205));
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].uid == "0a1b2c3d4e5f60718293a4b5c6d7e8f9");

  filter.self.uid = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
  set = FromEverywhere(filter, record, ToProtobuf(record, 1709287205));
  CHECK(set.peers.empty());
  CHECK(set.self_listed);
}

TEST_CASE("the API's captured lists give the same peer set as the store behind it") {
  struct Case {
    const char* ns;
    const char* list;
  };
  const Case kCases[] = {{"peers", "podlist.pb"}, {"peers-two", "podlist-nolabels.json"}};
  const json index = json::parse(Fixture("kube-apiserver-1.20.2/etcd/index.json"));
  for (const Case& wanted : kCases) {
    INFO(wanted.list);
    PodFilter filter;
    filter.ns = wanted.ns;
    filter.service = "-";
    filter.peer_port = 7070;
    const std::string prefix = std::string("/registry/pods/") + wanted.ns + "/";
    PodStore store = StoreOf(filter);
    for (const json& kv : index.at("kvs")) {
      const std::string key = kv.at("key");
      const std::string file = kv.at("file");
      if (!key.starts_with(prefix) || file.starts_with("stored-")) continue;
      REQUIRE(store
                  .Put(store.Read(key, std::stoll(kv.at("mod_revision").get<std::string>()),
                                  Fixture("kube-apiserver-1.20.2/etcd/" + file)))
                  .ok());
    }
    const PeerSet stored = store.MakeSet("here");
    CHECK(stored.peers.size() >= 2);
    CHECK(FromList(filter, Fixture(std::string("kube-apiserver-1.20.2/api/") + wanted.list)) ==
          stored);
  }
}

}  // namespace
}  // namespace podmirror::discovery
