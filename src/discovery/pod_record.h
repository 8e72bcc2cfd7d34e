// A pod record: what Kubernetes stores for one pod, in any of its encodings, reduced to what the
// rules for peers look at.
// Thread safety: pure functions on plain values.
// Invariants: (1) decoding never throws and its memory is bounded by a multiple of the record's
//                 size, whatever the bytes are.
//             (2) absent, null, empty and zero mean the same, as in Kubernetes.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/status.h"

namespace google::protobuf {
class MessageLite;
}
namespace podmirror::kubernetes {
class Pod;
}

namespace podmirror::discovery {

// By default etcd takes records of up to 1.5 MiB; larger ones only where its operator allows it.
inline constexpr std::size_t kMaxRecordBytes = 4u << 20;

struct ContainerSpec {
  std::string name;
  bool always_restarted = false;  // on an init container: it is a sidecar
};

struct ContainerStatus {
  std::string name;
  bool ready = false;
  bool running = false;
  WallMs started_at_ms = 0;  // of the running state; 0 = unknown
};

struct Pod {
  std::string name;
  std::string ns;
  std::string uid;
  std::string static_uid;                                   // of a mirror pod; see StaticUid
  std::vector<std::pair<std::string, std::string>> labels;  // sorted by key, keys unique
  bool terminating = false;   // deletionTimestamp is set, even one that lies in the future
  WallMs deletion_at_ms = 0;  // valid when terminating
  std::vector<ContainerSpec> containers;       // in the order of the spec
  std::vector<ContainerSpec> init_containers;  // sidecars are among these
  std::string phase;
  std::string pod_ip;  // as written: not checked
  std::vector<std::string> pod_ips;
  std::string host_ip;
  WallMs start_time_ms = 0;  // when the kubelet took the pod; 0 = unknown
  // Status of the conditions Ready and ContainersReady: True, False, Unknown.
  std::optional<std::string> ready;
  std::optional<std::string> containers_ready;
  std::vector<ContainerStatus> container_statuses;
  std::vector<ContainerStatus> init_container_statuses;
};

// Decodes the value of one key: Kubernetes protobuf, the same in base64, or JSON. kInvalid with the
// reason otherwise; an encrypted value is named with its provider ("k8s:enc:aescbc:v1:key1").
Result<Pod> DecodePod(std::string_view value);

// The two encodings behind DecodePod. `unknown`: what follows kProtobufMagic; `text`: the JSON.
Result<Pod> DecodePodProtobuf(std::string_view unknown);
Result<Pod> DecodePodJson(std::string_view text);

// The annotations of the mirror of a static pod.
inline constexpr std::string_view kMirrorAnnotation = "kubernetes.io/config.mirror";
inline constexpr std::string_view kHashAnnotation = "kubernetes.io/config.hash";
// A static pod is one that a kubelet runs from a file of its node, without the API. The API stores
// only its mirror, which has the same name and another UID. The kubelet knows the pod by the hash
// of the file, and tells the containers this hash as metadata.uid. `mirror` and `hash` are the
// values of the annotations; the result is empty when the record is not a mirror.
inline std::string StaticUid(const std::string& mirror, const std::string& hash) {
  return mirror.empty() ? std::string() : hash;
}

// A pod that was parsed as a part of something larger, such as a list. Kind and version are not
// checked, since the pods of a JSON list have none. kInvalid when a member is of a wrong type.
Pod PodFromProtobuf(const kubernetes::Pod& message);
Result<Pod> PodFromJson(const nlohmann::json& value);

// What an object in Kubernetes' protobuf begins with.
inline constexpr std::string_view kProtobufMagic("k8s\0", 4);
// False when the bytes are not such a message.
bool ParseBytes(google::protobuf::MessageLite& message, std::string_view bytes);

// Reads RFC 3339 with any offset and fraction; the result is in milliseconds since 1970. nullopt
// for any other text and outside the years 1..9999. Times before 1970, Go's zero time among them,
// are 0: unknown.
std::optional<WallMs> ParseTime(std::string_view text);

}  // namespace podmirror::discovery
