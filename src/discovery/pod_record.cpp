#include "discovery/pod_record.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <absl/time/time.h>

#include <algorithm>
#include <limits>
#include <map>

#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

constexpr std::string_view kEncryptedMagic = "k8s:enc:";
constexpr std::string_view kCborMagic = "\xd9\xd9\xf7";
constexpr std::string_view kBase64Magic = "azhzA";  // "k8s\0" in base64, whatever follows
constexpr std::int64_t kYear10000 = 253402300800;   // seconds since 1970; no valid time is so late

Status Unreadable(std::string reason) { return Status(Code::kInvalid, std::move(reason)); }

// "k8s:enc:<provider>:<version>:<key name>:" followed by bytes that only that key decrypts. The
// names are shown to people, so they are cut short and only printable ones are shown.
Status Encrypted(std::string_view value) {
  constexpr std::size_t kMaxShown = 64;
  std::vector<std::string_view> parts;
  for (absl::string_view part :
       absl::StrSplit(absl::string_view(value.data(), std::min<std::size_t>(value.size(), 256)),
                      absl::MaxSplits(':', 5))) {
    parts.emplace_back(part.data(), part.size());
  }
  std::string shown = "k8s:enc";
  for (std::size_t i = 2; i < parts.size() && i < 5; ++i) {
    if (!std::all_of(parts[i].begin(), parts[i].end(), absl::ascii_isprint)) break;
    shown += ":" + std::string(parts[i]);
  }
  return Unreadable("encrypted at rest (" + shown.substr(0, kMaxShown) +
                    "): only the Kubernetes API can read it");
}

WallMs ToMs(const kubernetes::Time& time) {
  if (time.seconds() <= 0 || time.seconds() >= kYear10000) return 0;
  return time.seconds() * 1000;
}

std::vector<ContainerSpec> FromProto(
    const google::protobuf::RepeatedPtrField<kubernetes::Container>& containers) {
  std::vector<ContainerSpec> specs;
  for (const kubernetes::Container& container : containers) {
    specs.push_back(
        {.name = container.name(), .always_restarted = container.restart_policy() == "Always"});
  }
  return specs;
}

std::vector<ContainerStatus> FromProto(
    const google::protobuf::RepeatedPtrField<kubernetes::ContainerStatus>& containers) {
  std::vector<ContainerStatus> statuses;
  for (const kubernetes::ContainerStatus& container : containers) {
    statuses.push_back({.name = container.name(),
                        .ready = container.ready(),
                        .running = container.state().has_running(),
                        .started_at_ms = ToMs(container.state().running().started_at())});
  }
  return statuses;
}

}  // namespace

bool ParseBytes(google::protobuf::MessageLite& message, std::string_view bytes) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

Pod PodFromProtobuf(const kubernetes::Pod& from) {
  Pod pod;
  pod.name = from.metadata().name();
  pod.ns = from.metadata().namespace_();
  pod.uid = from.metadata().uid();
  std::map<std::string, std::string> labels;  // a repeated key: the last one counts
  for (const kubernetes::Label& label : from.metadata().labels()) {
    labels[label.key()] = label.value();
  }
  pod.labels.assign(labels.begin(), labels.end());
  std::string mirror, hash;
  for (const kubernetes::Label& annotation : from.metadata().annotations()) {
    if (annotation.key() == kMirrorAnnotation) mirror = annotation.value();
    if (annotation.key() == kHashAnnotation) hash = annotation.value();
  }
  pod.static_uid = StaticUid(mirror, hash);
  pod.terminating = from.metadata().deletion_timestamp().seconds() != 0;
  pod.deletion_at_ms = ToMs(from.metadata().deletion_timestamp());
  pod.containers = FromProto(from.spec().containers());
  pod.init_containers = FromProto(from.spec().init_containers());
  pod.phase = from.status().phase();
  pod.pod_ip = from.status().pod_ip();
  for (const kubernetes::PodIP& ip : from.status().pod_ips()) pod.pod_ips.push_back(ip.ip());
  pod.host_ip = from.status().host_ip();
  pod.start_time_ms = ToMs(from.status().start_time());
  for (const kubernetes::PodCondition& condition : from.status().conditions()) {
    if (condition.type() == "Ready") pod.ready = condition.status();
    if (condition.type() == "ContainersReady") pod.containers_ready = condition.status();
  }
  pod.container_statuses = FromProto(from.status().container_statuses());
  pod.init_container_statuses = FromProto(from.status().init_container_statuses());
  return pod;
}

Result<Pod> DecodePodProtobuf(std::string_view bytes) {
  if (bytes.size() > kMaxRecordBytes) return Unreadable("longer than 4 MiB");
  kubernetes::Unknown unknown;
  if (!ParseBytes(unknown, bytes)) return Unreadable("broken protobuf envelope");
  if (unknown.type_meta().api_version() != "v1" || unknown.type_meta().kind() != "Pod") {
    return Unreadable("not a v1 Pod");
  }
  if (!unknown.content_encoding().empty()) return Unreadable("unknown content encoding");
  kubernetes::Pod pod;
  if (!ParseBytes(pod, unknown.raw())) return Unreadable("broken protobuf");
  return PodFromProtobuf(pod);
}

Result<Pod> DecodePod(std::string_view value) {
  if (value.size() > kMaxRecordBytes) return Unreadable("longer than 4 MiB");
  if (value.starts_with(kProtobufMagic)) {
    return DecodePodProtobuf(value.substr(kProtobufMagic.size()));
  }
  if (value.starts_with('{')) return DecodePodJson(value);
  if (value.starts_with(kEncryptedMagic)) return Encrypted(value);
  if (value.starts_with(kCborMagic)) {
    return Unreadable("stored as CBOR: only the Kubernetes API can read it");
  }
  if (value.starts_with(kBase64Magic)) {
    std::string bytes;
    if (absl::Base64Unescape(absl::string_view(value.data(), value.size()), &bytes) &&
        std::string_view(bytes).starts_with(kProtobufMagic)) {
      return DecodePodProtobuf(std::string_view(bytes).substr(kProtobufMagic.size()));
    }
    return Unreadable("broken base64");
  }
  if (value.empty()) return Unreadable("empty value");
  return Unreadable("neither JSON nor Kubernetes protobuf");
}

std::optional<WallMs> ParseTime(std::string_view text) {
  // absl also takes leading blanks, signs and "infinite-future"; RFC 3339 starts with four digits.
  constexpr std::size_t kShortest = 20;
  if (text.size() < kShortest || text[4] != '-' ||
      !std::all_of(text.begin(), text.begin() + 4, absl::ascii_isdigit)) {
    return std::nullopt;
  }
  absl::Time time;
  if (!absl::ParseTime(absl::RFC3339_full, absl::string_view(text.data(), text.size()), &time,
                       nullptr)) {
    return std::nullopt;
  }
  const std::int64_t seconds = absl::ToUnixSeconds(time);
  if (seconds >= kYear10000) return std::nullopt;
  return seconds < 0 ? 0 : absl::ToUnixMillis(time);
}

}  // namespace podmirror::discovery
