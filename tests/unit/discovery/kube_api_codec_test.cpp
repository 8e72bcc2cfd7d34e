#include "discovery/kube_api_codec.h"

#include "discovery/kube_api_stream.h"
#include "fixtures.h"
#include "kubernetes/api.pb.h"
#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

std::string Captured(const std::string& name) {
  return Fixture("kube-apiserver-1.20.2/api/" + name);
}

// All frames of a body that comes in pieces of `size` bytes, and how it ended.
std::pair<std::vector<std::string>, Status> Frames(const std::string& body, std::size_t size) {
  std::vector<std::string> frames;
  KubeWatchStream stream;
  for (std::size_t at = 0; at < body.size(); at += size) {
    const Status status =
        stream.Add(std::string_view(body).substr(at, size), [&](std::string_view frame) {
          frames.emplace_back(frame);
          return Status();
        });
    if (!status.ok()) return {frames, status};
  }
  if (stream.mid_frame()) return {frames, Status(Code::kUnavailable, "within a frame")};
  return {frames, Status()};
}

const char* NameOf(KubeEvent::Type type) {
  using enum KubeEvent::Type;
  switch (type) {
    case kPut:
      return "PUT";
    case kDelete:
      return "DELETED";
    case kBookmark:
      return "BOOKMARK";
    case kError:
      return "ERROR";
    case kUnknown:
      return "UNKNOWN";
  }
  return "";
}

TEST_CASE("captured lists say what expected.json says") {
  const json expected = json::parse(Fixture("expected.json"));
  for (const char* file : {"podlist-page1.pb", "podlist-selector.pb", "podlist.pb"}) {
    INFO(file);
    const json& fields = expected.at(std::string("kube-apiserver-1.20.2/api/") + file);
    json items = json::array();
    const Result<KubeListPage> page = DecodeKubeList(Captured(file), [&](const KubePod& pod) {
      REQUIRE(pod.pod.ok());
      CHECK(pod.pod->name == pod.name);
      items.push_back({pod.name, std::to_string(pod.revision)});
    });
    REQUIRE(page.ok());
    CHECK(std::to_string(page->revision) == fields.at("metadata").at("resourceVersion"));
    CHECK(page->continue_token == fields.at("metadata").at("continue"));
    CHECK(items == fields.at("items"));
  }
  const Result<KubeListPage> empty =
      DecodeKubeList(Captured("podlist-empty.json"), [](const KubePod&) { FAIL("a pod"); });
  REQUIRE(empty.ok());
  CHECK(empty->revision > 0);
}

TEST_CASE("captured watches say what expected.json says, in pieces of any size") {
  const json expected = json::parse(Fixture("expected.json"));
  for (const char* file : {"watch.pbstream", "watch-expired.pbstream", "watch-no-rv.json",
                           "watch-nolabels.json", "watch-expired.json"}) {
    INFO(file);
    const std::string body = Captured(file);
    const json& fields = expected.at(std::string("kube-apiserver-1.20.2/api/") + file);
    const auto [frames, status] = Frames(body, body.size());
    REQUIRE(status.ok());
    for (const std::size_t size : {1, 3, 4, 5, 1000, 4096}) {
      const auto again = Frames(body, size);
      CHECK(again.second.ok());
      CHECK(again.first == frames);
    }
    REQUIRE(frames.size() == fields.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const Result<KubeEvent> event = DecodeKubeEvent(frames[i]);
      REQUIRE(event.ok());
      const std::string type = fields[i][0];
      CHECK(NameOf(event->type) == (type == "ADDED" || type == "MODIFIED" ? "PUT" : type));
      if (event->type == KubeEvent::Type::kError) {
        CHECK(event->status.code == fields[i][4]);
        CHECK(event->status.reason == fields[i][5]);
        continue;
      }
      CHECK(std::to_string(event->revision) == fields[i][3]);
      CHECK(event->pod.has_value() == (type != "BOOKMARK"));
      if (event->pod) CHECK(event->pod->name == fields[i][2]);
    }
  }
}

TEST_CASE("captured refusals are read") {
  const KubeStatus forbidden = DecodeKubeStatus(Captured("error-anonymous.json"));
  CHECK(forbidden.code == 403);
  CHECK(forbidden.reason == "Forbidden");
  CHECK(forbidden.message.starts_with("pods is forbidden: User \"system:anonymous\""));
  CHECK(DecodeKubeStatus(Captured("error-rv-too-large.json")).retry_after ==
        std::chrono::seconds(1));
  CHECK(DecodeKubeStatus("").code == 0);
  CHECK(DecodeKubeStatus("<html>").code == 0);
  CHECK(DecodeKubeStatus(R"({"kind":"Pod","apiVersion":"v1","code":403})").code == 0);
}

TEST_CASE("one pod that cannot be read does not keep the others from being read") {
  kubernetes::Pod good;
  good.mutable_metadata()->set_name("good");
  good.mutable_metadata()->set_resource_version("5");
  kubernetes::PodList list;
  list.mutable_metadata()->set_resource_version("9");
  list.add_items(good.SerializeAsString() + "\xff");
  list.add_items(good.SerializeAsString());
  list.add_items(good.SerializeAsString() + std::string(kMaxRecordBytes, 'x'));
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind("PodList");
  unknown.set_raw(list.SerializeAsString());
  std::vector<bool> readable;
  const Result<KubeListPage> page =
      DecodeKubeList(std::string("k8s\0", 4) + unknown.SerializeAsString(),
                     [&](const KubePod& pod) { readable.push_back(pod.pod.ok()); });
  CHECK(page.ok());
  CHECK(readable == std::vector<bool>{false, true, false});

  readable.clear();
  const std::string text = R"({"kind":"PodList","apiVersion":"v1",
    "items":[{"metadata":{"name":"a","resourceVersion":"1"},"status":{"podIP":5}},
             {"metadata":{"name":"b","resourceVersion":"x"}},
             {"metadata":{"name":"c","resourceVersion":"3","managedFields":[{"a":{"b":[]}}]}}],
    "metadata":{"resourceVersion":"9"}})";
  REQUIRE(DecodeKubeList(text, [&](const KubePod& pod) { readable.push_back(pod.pod.ok()); }).ok());
  CHECK(readable == std::vector<bool>{false, false, true});
}

TEST_CASE("a stream that cannot be a watch is refused as soon as that shows") {
  const auto code = [](const std::string& body) { return Frames(body, 7).second.code(); };
  CHECK(code("<html>") == Code::kInvalid);
  CHECK(code("{}x{}") == Code::kInvalid);
  CHECK(code("{}]") == Code::kInvalid);
  CHECK(code(std::string("\0\x7f\xff\xff", 4)) == Code::kExhausted);
  CHECK(code("{\"" + std::string(kMaxFrameBytes, 'x')) == Code::kExhausted);
  CHECK(code(" {\"a\":\"\\\"}{\\\\\"} \n\t {}\n") == Code::kOk);
  CHECK(Frames(" {\"a\":\"\\\"}{\\\\\"} \n\t {}\n", 1).first ==
        std::vector<std::string>{"{\"a\":\"\\\"}{\\\\\"}", "{}"});
  CHECK(code(std::string("\0\0\0", 3)) == Code::kUnavailable);
  CHECK(code("{\"a\":") == Code::kUnavailable);
}

TEST_CASE("an item of too many values is refused") {
  std::string text = R"({"kind":"PodList","apiVersion":"v1","items":[{"a":[0)";
  for (int i = 0; i < 600'000; ++i) text += ",0";
  text += R"(]}],"metadata":{"resourceVersion":"9"}})";
  CHECK_FALSE(DecodeKubeList(text, [](const KubePod&) { FAIL("a pod"); }).ok());
}

}  // namespace
}  // namespace podmirror::discovery
