#include <algorithm>
#include <nlohmann/json.hpp>

#include "discovery/bounded_json.h"
#include "discovery/pod_record.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

// Reads members of known types. The first one of another type is remembered as the error and
// everything after that reads as absent, so that callers need not check each member.
class Reader {
 public:
  const Status& status() const { return status_; }

  // The member; null where it is absent, null itself or not of the type.
  const json* Object(const json* parent, const char* name) {
    return Member(parent, name, json::value_t::object, "an object");
  }

  // Empty where there is none.
  const json& Array(const json* parent, const char* name) {
    static const json empty = json::array();
    const json* found = Member(parent, name, json::value_t::array, "an array");
    return found != nullptr ? *found : empty;
  }

  std::string String(const json* parent, const char* name) {
    const json* found = Member(parent, name, json::value_t::string, "a string");
    return found != nullptr ? found->get_ref<const std::string&>() : std::string();
  }

  bool Bool(const json* parent, const char* name) {
    const json* found = Member(parent, name, json::value_t::boolean, "true or false");
    return found != nullptr && found->get<bool>();
  }

  // nullopt where there is none.
  std::optional<WallMs> Time(const json* parent, const char* name) {
    const std::string text = String(parent, name);
    if (text.empty()) return std::nullopt;
    const std::optional<WallMs> time = ParseTime(text);
    if (!time) Fail(std::string(name) + " is not a time");
    return time;
  }

  // An element of an array that has to be an object; null if it is not.
  const json* Element(const json& element, const char* array) {
    if (element.is_object()) return &element;
    Fail(std::string(array) + " holds something that is not an object");
    return nullptr;
  }

  void Fail(std::string reason) {
    if (status_.ok()) status_ = Status(Code::kInvalid, std::move(reason));
  }

 private:
  const json* Member(const json* parent, const char* name, json::value_t type, const char* wanted) {
    if (parent == nullptr || !status_.ok()) return nullptr;
    const auto found = parent->find(name);
    if (found == parent->end() || found->is_null()) return nullptr;
    if (found->type() == type) return &*found;
    Fail(std::string(name) + " is not " + wanted);
    return nullptr;
  }

  Status status_;
};

void ReadMetadata(Reader& reader, const json* metadata, Pod& pod) {
  pod.name = reader.String(metadata, "name");
  pod.ns = reader.String(metadata, "namespace");
  pod.uid = reader.String(metadata, "uid");
  const std::optional<WallMs> deletion = reader.Time(metadata, "deletionTimestamp");
  pod.terminating = deletion.has_value();
  pod.deletion_at_ms = deletion.value_or(0);
  const json* annotations = reader.Object(metadata, "annotations");
  pod.static_uid = StaticUid(reader.String(annotations, kMirrorAnnotation.data()),
                             reader.String(annotations, kHashAnnotation.data()));
  const json* labels = reader.Object(metadata, "labels");
  if (labels == nullptr) return;
  for (const auto& label : labels->items()) {
    if (!label.value().is_string()) return reader.Fail("a label is not a string");
    pod.labels.emplace_back(label.key(), label.value().get_ref<const std::string&>());
  }
}

std::vector<ContainerSpec> ReadSpecs(Reader& reader, const json* spec, const char* array) {
  std::vector<ContainerSpec> specs;
  for (const json& element : reader.Array(spec, array)) {
    const json* container = reader.Element(element, array);
    specs.push_back({.name = reader.String(container, "name"),
                     .always_restarted = reader.String(container, "restartPolicy") == "Always"});
  }
  return specs;
}

std::vector<ContainerStatus> ReadStatuses(Reader& reader, const json* status, const char* array) {
  std::vector<ContainerStatus> statuses;
  for (const json& element : reader.Array(status, array)) {
    const json* container = reader.Element(element, array);
    const json* running = reader.Object(reader.Object(container, "state"), "running");
    statuses.push_back({.name = reader.String(container, "name"),
                        .ready = reader.Bool(container, "ready"),
                        .running = running != nullptr,
                        .started_at_ms = reader.Time(running, "startedAt").value_or(0)});
  }
  return statuses;
}

void ReadStatus(Reader& reader, const json* status, Pod& pod) {
  pod.phase = reader.String(status, "phase");
  pod.pod_ip = reader.String(status, "podIP");
  pod.host_ip = reader.String(status, "hostIP");
  pod.start_time_ms = reader.Time(status, "startTime").value_or(0);
  for (const json& element : reader.Array(status, "podIPs")) {
    pod.pod_ips.push_back(reader.String(reader.Element(element, "podIPs"), "ip"));
  }
  for (const json& element : reader.Array(status, "conditions")) {
    const json* condition = reader.Element(element, "conditions");
    const std::string type = reader.String(condition, "type");
    if (type == "Ready") pod.ready = reader.String(condition, "status");
    if (type == "ContainersReady") pod.containers_ready = reader.String(condition, "status");
  }
  pod.container_statuses = ReadStatuses(reader, status, "containerStatuses");
  pod.init_container_statuses = ReadStatuses(reader, status, "initContainerStatuses");
}

}  // namespace

Result<Pod> DecodePodJson(std::string_view text) {
  // managedFields is often half of the record and nothing in it is of use here.
  const json value = ParseBoundedJson(text, "managedFields");
  if (!value.is_object()) return Status(Code::kInvalid, "broken JSON");
  Reader reader;
  const std::string version = reader.String(&value, "apiVersion");
  const std::string kind = reader.String(&value, "kind");
  if (reader.status().ok() && (version != "v1" || kind != "Pod")) {
    return Status(Code::kInvalid, "not a v1 Pod");
  }
  if (!reader.status().ok()) return reader.status();
  return PodFromJson(value);
}

Result<Pod> PodFromJson(const json& value) {
  Reader reader;
  Pod pod;
  ReadMetadata(reader, reader.Object(&value, "metadata"), pod);
  const json* spec = reader.Object(&value, "spec");
  pod.containers = ReadSpecs(reader, spec, "containers");
  pod.init_containers = ReadSpecs(reader, spec, "initContainers");
  ReadStatus(reader, reader.Object(&value, "status"), pod);
  if (!reader.status().ok()) return reader.status();
  return pod;
}

}  // namespace podmirror::discovery
