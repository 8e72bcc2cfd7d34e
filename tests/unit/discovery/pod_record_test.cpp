#include "discovery/pod_record.h"

#include <absl/strings/escaping.h>
#include <absl/time/time.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>

#include "fixtures.h"
#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

// A time as expected.json has it: text, or null for none.
WallMs MsOf(const json& time) {
  if (time.is_null()) return 0;
  absl::Time parsed;
  REQUIRE(absl::ParseTime(absl::RFC3339_full, time.get<std::string>(), &parsed, nullptr));
  return absl::ToUnixMillis(parsed);
}

void CheckAgainst(const json& expected, const Pod& pod) {
  CHECK(pod.name == expected.at("name"));
  CHECK(pod.ns == expected.at("namespace"));
  CHECK(pod.uid == expected.at("uid"));
  CHECK(json(std::map<std::string, std::string>(pod.labels.begin(), pod.labels.end())) ==
        (expected.at("labels").empty() ? json(std::map<std::string, std::string>())
                                       : expected.at("labels")));
  CHECK(pod.terminating == !expected.at("deletionTimestamp").is_null());
  CHECK(pod.deletion_at_ms == MsOf(expected.at("deletionTimestamp")));
  CHECK(pod.phase == expected.at("phase"));
  CHECK(pod.pod_ip == expected.at("podIP"));
  CHECK(json(pod.pod_ips) == expected.at("podIPs"));
  CHECK(pod.host_ip == expected.at("hostIP"));
  CHECK(pod.start_time_ms == MsOf(expected.at("startTime")));
  CHECK((pod.ready ? json(*pod.ready) : json()) == expected.at("Ready"));
  const json& containers = expected.at("containers");
  REQUIRE(pod.container_statuses.size() == containers.size());
  for (std::size_t i = 0; i < containers.size(); ++i) {
    const ContainerStatus& status = pod.container_statuses[i];
    const json& states = containers[i].at("state");
    CHECK(status.name == containers[i].at("name"));
    CHECK(status.ready == containers[i].at("ready"));
    CHECK(status.running == (std::find(states.begin(), states.end(), "running") != states.end()));
    CHECK(status.started_at_ms == MsOf(containers[i].at("runningStartedAt")));
  }
}

json Summary(const Pod& pod) {
  json value = {{"name", pod.name},
                {"ns", pod.ns},
                {"uid", pod.uid},
                {"static_uid", pod.static_uid},
                {"labels", pod.labels},
                {"terminating", pod.terminating},
                {"deletion", pod.deletion_at_ms},
                {"phase", pod.phase},
                {"ip", pod.pod_ip},
                {"ips", pod.pod_ips},
                {"host", pod.host_ip},
                {"start", pod.start_time_ms},
                {"ready", pod.ready.value_or("-")},
                {"containers_ready", pod.containers_ready.value_or("-")}};
  for (const auto* specs : {&pod.containers, &pod.init_containers}) {
    for (const ContainerSpec& spec : *specs) {
      value["specs"].push_back({spec.name, spec.always_restarted});
    }
  }
  for (const auto* statuses : {&pod.container_statuses, &pod.init_container_statuses}) {
    for (const ContainerStatus& status : *statuses) {
      value["statuses"].push_back(
          {status.name, status.ready, status.running, status.started_at_ms});
    }
  }
  return value;
}

std::string ReasonOf(std::string_view value) {
  const Result<Pod> pod = DecodePod(value);
  REQUIRE_FALSE(pod.ok());
  CHECK(pod.status().code() == Code::kInvalid);
  return pod.status().message();
}

TEST_CASE("every stored record says what expected.json says") {
  const json expected = json::parse(Fixture("expected.json"));
  int read = 0;
  for (const auto& [file, fields] : expected.items()) {
    if (!file.ends_with(".etcdvalue")) continue;
    INFO(file);
    const std::string value = Fixture(file);
    if (fields.contains("encoding") && fields.at("encoding") != "json") {
      const std::string provider = fields.at("encoding");
      CHECK(ReasonOf(value).find(provider) != std::string::npos);
      continue;
    }
    const Result<Pod> pod = DecodePod(value);
    REQUIRE(pod.ok());
    ++read;
    if (fields.contains("encoding")) {
      CHECK(pod->name == fields.at("name"));
      CHECK(pod->pod_ip == fields.at("podIP"));
    } else {
      CheckAgainst(fields, *pod);
    }
  }
  CHECK(read == 21);
}

TEST_CASE("the record of 2017 is read") {
  const json answer = json::parse(Fixture("etcd-v2-2017/registry-pods-default.json"));
  const std::string value = answer.at("node").at("nodes").at(0).at("value");
  const Result<Pod> pod = DecodePod(value);
  REQUIRE(pod.ok());
  CHECK(pod->name == "hello-web-29a74e26ea3c2138e1727f35a111f4c6-dknwh");
  CHECK(pod->uid == "09c45029-3fa0-11e7-a46c-00163e327954");
  CHECK(pod->pod_ip == "172.80.13.4");
  CHECK(pod->phase == "Running");
  CHECK(pod->ready == "True");
  REQUIRE(pod->container_statuses.size() == 1);
  CHECK(pod->container_statuses[0].started_at_ms == MsOf("2017-05-23T10:10:29Z"));
}

TEST_CASE("Kubernetes' own test records are read, protobuf and JSON alike") {
  const char* folder = std::getenv("PODMIRROR_UPSTREAM_FIXTURES");
  if (folder == nullptr) {
    std::cout << "skipped: no upstream fixtures\n";
    return;
  }
  const std::string root = folder;
  const json expected = json::parse(ReadFile(root + "/../expected.json"));
  int read = 0;
  for (const auto& [file, fields] : expected.items()) {
    if (!file.starts_with("kubernetes-api/")) continue;
    INFO(file);
    const std::string path = root + file.substr(std::string("kubernetes-api").size());
    const Result<Pod> pod = DecodePod(ReadFile(path));
    REQUIRE(pod.ok());
    CheckAgainst(fields, *pod);
    ++read;
    const std::string json_path = path.substr(0, path.size() - 3) + ".json";
    if (!std::filesystem::exists(json_path)) continue;
    const Result<Pod> same = DecodePod(ReadFile(json_path));
    INFO(json_path << " " << same.status().ToString());
    REQUIRE(same.ok());
    CHECK(Summary(*same) == Summary(*pod));
  }
  CHECK(read >= 10);
}

TEST_CASE("what is no pod record is told by what it is") {
  CHECK(ReasonOf("") == "empty value");
  CHECK(ReasonOf("hello") == "neither JSON nor Kubernetes protobuf");
  CHECK(ReasonOf("\xd9\xd9\xf7\xa0").find("CBOR") != std::string::npos);
  CHECK(ReasonOf("{\"kind\":").find("broken JSON") != std::string::npos);
  CHECK(ReasonOf("[]") == "neither JSON nor Kubernetes protobuf");
  CHECK(ReasonOf(R"({"kind":"Node","apiVersion":"v1"})") == "not a v1 Pod");
  CHECK(ReasonOf(R"({"kind":"Pod","apiVersion":"v2"})") == "not a v1 Pod");
  CHECK(ReasonOf(R"({})") == "not a v1 Pod");
  CHECK(ReasonOf(std::string("k8s\0", 4)) == "not a v1 Pod");
  CHECK(ReasonOf(std::string("k8s\0\xff\xff", 6)) == "broken protobuf envelope");
  CHECK(ReasonOf("azhzA!!") == "broken base64");
  CHECK(ReasonOf("k8s:enc:kms:v2:my-plugin:\x01\x02") ==
        "encrypted at rest (k8s:enc:kms:v2:my-plugin): only the Kubernetes API can read it");
  CHECK(ReasonOf("k8s:enc:").find("k8s:enc") != std::string::npos);
  CHECK(ReasonOf("k8s:enc:\x01\n:").find('\n') == std::string::npos);
  CHECK(ReasonOf("{" + std::string(kMaxRecordBytes, ' ') + "}") == "longer than 4 MiB");
}

TEST_CASE("a protobuf record that was stored as base64 is read") {
  const std::string stored = StoredPod("c-running-ready");
  const Result<Pod> pod = DecodePod(absl::Base64Escape(stored));
  REQUIRE(pod.ok());
  CHECK(pod->name == "c-running-ready");
}

TEST_CASE("unknown protobuf fields and text that is not UTF-8 do no harm") {
  kubernetes::Pod pod;
  pod.mutable_metadata()->set_name("x");
  pod.mutable_metadata()->set_uid("\xff\xfe");
  std::string raw = pod.SerializeAsString();
  raw += std::string(
      "\x9a\x3f\x03"
      "abc",
      6);  // field 1011
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind("Pod");
  unknown.set_raw(raw);
  const Result<Pod> read = DecodePodProtobuf(unknown.SerializeAsString());
  REQUIRE(read.ok());
  CHECK(read->name == "x");
  CHECK(read->uid == "\xff\xfe");
}

TEST_CASE("times of any offset and fraction") {
  CHECK(ParseTime("2017-05-23T10:10:29Z") == 1495534229000);
  CHECK(ParseTime("2017-05-23T12:10:29+02:00") == 1495534229000);
  CHECK(ParseTime("2017-05-23T04:40:29-05:30") == 1495534229000);
  CHECK(ParseTime("2017-05-23T10:10:29.5Z") == 1495534229500);
  CHECK(ParseTime("2017-05-23T10:10:29.123456789Z") == 1495534229123);
  CHECK(ParseTime("0001-01-01T00:00:00Z") == 0);
  CHECK(ParseTime("1969-12-31T23:59:59Z") == 0);
  CHECK(ParseTime("9999-12-31T23:59:59Z") == 253402300799000);
  for (const char* bad :
       {"", "now", "2017-05-23", "2017-05-23 10:10:29Z", "2017-05-23T10:10:29",
        "2017-13-23T10:10:29Z", "2017-05-32T10:10:29Z", "infinite-future", " 2017-05-23T10:10:29Z",
        "20170-05-23T10:10:29Z", "+2017-05-23T10:10:29Z", "2017-05-23T25:10:29Z",
        "2017-05-23T10:10:29+9999:00", "9999-12-31T23:59:59-01:00"}) {
    INFO(bad);
    CHECK_FALSE(ParseTime(bad).has_value());
  }
}

TEST_CASE("protobuf times that no calendar has are unknown") {
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind("Pod");
  for (const std::int64_t seconds :
       {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min(),
        std::int64_t{-1}, std::int64_t{0}, std::int64_t{253402300800}}) {
    kubernetes::Pod pod;
    pod.mutable_status()->mutable_start_time()->set_seconds(seconds);
    pod.mutable_metadata()->mutable_deletion_timestamp()->set_seconds(seconds);
    unknown.set_raw(pod.SerializeAsString());
    const Result<Pod> read = DecodePodProtobuf(unknown.SerializeAsString());
    REQUIRE(read.ok());
    CHECK(read->start_time_ms == 0);
    CHECK(read->terminating == (seconds != 0));
  }
}

TEST_CASE("a record cut off anywhere is unreadable or read, never a crash") {
  for (const char* name :
       {"f-two-containers-one-terminated", "g-init-running", "stored-json", "stored-aescbc"}) {
    const std::string whole = StoredPod(name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Result<Pod> pod = DecodePod(whole.substr(0, size));
      if (pod.ok()) CHECK(pod->name.size() < 100);
    }
  }
}

TEST_CASE("a record with any one byte changed is unreadable or read, never a crash") {
  for (const char* name : {"f-two-containers-one-terminated", "stored-json"}) {
    const std::string whole = StoredPod(name);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      std::string changed = whole;
      changed[at] = std::string("\0\x7f\xff{\"", 5)[at % 5];
      static_cast<void>(DecodePod(changed));
    }
  }
}

TEST_CASE("JSON nested too deep, with huge numbers or keys twice") {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  CHECK(ReasonOf(R"({"kind":"Pod","apiVersion":"v1","spec":)" + deep + "}") == "broken JSON");
  CHECK(ReasonOf(R"({"kind":"Pod","apiVersion":"v1","spec":)" + std::string(200'000, '[')) ==
        "broken JSON");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  CHECK(ReasonOf(objects) == "broken JSON");

  const Result<Pod> huge = DecodePod(
      R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"x",
          "generation":99999999999999999999999},
          "spec":{"priority":1e300}})");
  REQUIRE(huge.ok());
  CHECK(huge->name == "x");
  CHECK(ReasonOf(R"({"kind":"Pod","apiVersion":"v1","spec":{"priority":1e999}})") == "broken JSON");

  const Result<Pod> twice = DecodePod(
      R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","name":"y",
          "labels":{"a":"1","a":"2"}}})");
  REQUIRE(twice.ok());
  CHECK(twice->name == "y");
  CHECK(twice->labels == std::vector<std::pair<std::string, std::string>>{{"a", "2"}});
}

TEST_CASE("a JSON member of a wrong type makes the record unreadable and is named") {
  const json good = RunningPod();
  REQUIRE(DecodePod(good.dump()).ok());
  const char* const kRead[] = {"/kind",
                               "/apiVersion",
                               "/metadata",
                               "/metadata/name",
                               "/metadata/namespace",
                               "/metadata/uid",
                               "/metadata/labels",
                               "/metadata/labels/app",
                               "/spec",
                               "/spec/containers",
                               "/spec/containers/0",
                               "/spec/containers/0/name",
                               "/status",
                               "/status/phase",
                               "/status/podIP",
                               "/status/podIPs",
                               "/status/podIPs/0",
                               "/status/podIPs/0/ip",
                               "/status/startTime",
                               "/status/conditions",
                               "/status/conditions/0",
                               "/status/conditions/0/type",
                               "/status/conditions/0/status",
                               "/status/containerStatuses",
                               "/status/containerStatuses/0",
                               "/status/containerStatuses/0/name",
                               "/status/containerStatuses/0/ready",
                               "/status/containerStatuses/0/state",
                               "/status/containerStatuses/0/state/running",
                               "/status/containerStatuses/0/state/running/startedAt"};
  for (const char* path : kRead) {
    for (const json& wrong : {json(7), json(-1.5), json("no time"), json::array({1}),
                              json::object({{"x", 1}}), json(false)}) {
      json changed = good;
      json& place = changed[json::json_pointer(path)];
      if (place.type() == wrong.type() && std::string(path).find("Time") == std::string::npos &&
          std::string(path).find("startedAt") == std::string::npos) {
        continue;
      }
      place = wrong;
      INFO(path << " = " << wrong.dump());
      CHECK_FALSE(ReasonOf(changed.dump()).empty());
    }
    json absent = good;
    absent[json::json_pointer(path)] = nullptr;
    INFO(path << " = null");
    const bool identity = std::string(path) == "/kind" || std::string(path) == "/apiVersion";
    const bool element = std::string(path).ends_with("/0") || std::string(path).ends_with("/app");
    CHECK(DecodePod(absent.dump()).ok() == (!identity && !element));
  }
}

}  // namespace
}  // namespace podmirror::discovery
