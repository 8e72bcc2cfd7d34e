#include "discovery/kube_api_codec.h"

#include <absl/strings/numbers.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "discovery/bounded_json.h"
#include "kubernetes/api.pb.h"
#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxMessageBytes = 1024;
constexpr std::size_t kMaxContinueBytes = 8192;  // some hundred in practice; goes into a URL
constexpr std::int64_t kNoRevision = -1;

Status NotAList() { return Invalid("not a v1 PodList: is this the Kubernetes API?"); }

// Revisions are numbers: in every server that exists, and by promise since Kubernetes 1.35.
std::int64_t RevisionOf(std::string_view text) {
  std::int64_t revision = kNoRevision;
  const bool number = absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &revision);
  return number && revision >= 0 ? revision : kNoRevision;
}

KubePod Checked(KubePod pod) {
  if (pod.revision == kNoRevision && pod.pod.ok()) {
    pod.pod = Invalid("resourceVersion is not a number");
  }
  return pod;
}

KubeEvent::Type TypeOf(std::string_view type) {
  using enum KubeEvent::Type;
  if (type == "ADDED" || type == "MODIFIED") return kPut;
  if (type == "DELETED") return kDelete;
  if (type == "BOOKMARK") return kBookmark;
  return type == "ERROR" ? kError : kUnknown;
}

Result<KubeListPage> CheckedPage(KubeListPage page) {
  if (page.revision == kNoRevision) return Invalid("a list without a resourceVersion");
  if (page.continue_token.size() > kMaxContinueBytes) return Invalid("a continue token too long");
  return page;
}

// An event of a pod, or a bookmark, once its object is read.
Result<KubeEvent> PodEvent(KubeEvent::Type type, KubePod pod) {
  KubeEvent event;
  event.type = type;
  event.revision = pod.revision;
  if (pod.revision == kNoRevision) return Invalid("an event without a resourceVersion");
  if (type == KubeEvent::Type::kBookmark) return event;  // its pod has a revision and nothing else
  if (pod.name.empty()) return Invalid("an event of a pod without a name");
  event.pod = std::move(pod);
  return event;
}

Result<KubeEvent> ErrorEvent(KubeStatus status) {
  KubeEvent event;
  event.type = KubeEvent::Type::kError;
  event.status = std::move(status);
  if (event.status.code == 0) return Invalid("an ERROR event without a code");
  return event;
}

// --- protobuf ---

// The bytes of the object when it is a v1 `kind`, behind the magic.
std::optional<std::string> Unwrap(std::string_view bytes, std::string_view kind) {
  if (!bytes.starts_with(kProtobufMagic)) return std::nullopt;
  kubernetes::Unknown unknown;
  if (!ParseBytes(unknown, bytes.substr(kProtobufMagic.size())) ||
      unknown.type_meta().api_version() != "v1" || unknown.type_meta().kind() != kind ||
      !unknown.content_encoding().empty()) {
    return std::nullopt;
  }
  return std::move(*unknown.mutable_raw());
}

// The metadata comes first, so that even a record that is too long or broken tells which pod it is.
KubePod PodOf(std::string_view bytes) {
  constexpr std::size_t kBeginning = 64u << 10;
  const bool fits = bytes.size() <= kMaxRecordBytes;
  kubernetes::Pod message;
  const bool whole = ParseBytes(message, fits ? bytes : bytes.substr(0, kBeginning)) && fits;
  return Checked({.name = message.metadata().name(),
                  .revision = RevisionOf(message.metadata().resource_version()),
                  .pod = whole ? Result<Pod>(PodFromProtobuf(message))
                               : Invalid(fits ? "broken protobuf" : "longer than 4 MiB")});
}

KubeStatus StatusFromProtobuf(std::string_view bytes) {
  kubernetes::Status message;
  if (!ParseBytes(message, bytes)) return {};
  return {
      .code = message.code(),
      .reason = message.reason().substr(0, kMaxMessageBytes),
      .message = message.message().substr(0, kMaxMessageBytes),
      .retry_after = std::chrono::seconds(std::max(0, message.details().retry_after_seconds()))};
}

Result<KubeListPage> ListFromProtobuf(std::string_view body,
                                      const std::function<void(KubePod)>& each) {
  kubernetes::PodList list;
  {
    const std::optional<std::string> raw = Unwrap(body, "PodList");
    if (!raw || !ParseBytes(list, *raw)) return NotAList();
  }
  for (const std::string& item : list.items()) {
    KubePod pod = PodOf(item);
    if (pod.name.empty()) return Invalid("a list with a pod without a name");
    each(std::move(pod));
  }
  return CheckedPage({.revision = RevisionOf(list.metadata().resource_version()),
                      .continue_token = list.metadata().continue_()});
}

Result<KubeEvent> EventFromProtobuf(std::string_view frame) {
  kubernetes::WatchEvent message;
  if (!ParseBytes(message, frame) || message.type().empty()) return Invalid("not a watch event");
  const KubeEvent::Type type = TypeOf(message.type());
  if (type == KubeEvent::Type::kUnknown) return KubeEvent();
  const bool error = type == KubeEvent::Type::kError;
  const std::optional<std::string> raw = Unwrap(message.object().raw(), error ? "Status" : "Pod");
  if (!raw) return Invalid(error ? "an ERROR event without a Status" : "an event of no v1 Pod");
  return error ? ErrorEvent(StatusFromProtobuf(*raw)) : PodEvent(type, PodOf(*raw));
}

// --- JSON ---

bool IsKind(const json& object, const char* kind) {
  return StringMember(&object, "kind") == kind && StringMember(&object, "apiVersion") == "v1";
}

KubePod PodOf(const json& object) {
  const json* metadata = ObjectMember(&object, "metadata");
  return Checked({.name = StringMember(metadata, "name"),
                  .revision = RevisionOf(StringMember(metadata, "resourceVersion")),
                  .pod = PodFromJson(object)});
}

KubeStatus StatusFromJson(const json& object) {
  constexpr std::int64_t kLongest = 1'000'000;
  const std::int64_t retry = IntMember(ObjectMember(&object, "details"), "retryAfterSeconds");
  return {.code = static_cast<int>(std::clamp<std::int64_t>(IntMember(&object, "code"), 0, 999)),
          .reason = StringMember(&object, "reason").substr(0, kMaxMessageBytes),
          .message = StringMember(&object, "message").substr(0, kMaxMessageBytes),
          .retry_after = std::chrono::seconds(std::clamp<std::int64_t>(retry, 0, kLongest))};
}

Result<KubeListPage> ListFromJson(std::string_view body, const std::function<void(KubePod)>& each) {
  bool all_named = true;
  const json list = ParseLongArray(body, "items", "managedFields", [&](const json& item) {
    KubePod pod = PodOf(item);
    all_named = all_named && !pod.name.empty();
    if (all_named) each(std::move(pod));
  });
  if (!list.is_object() || !IsKind(list, "PodList")) return NotAList();
  // ParseLongArray has dropped all objects of `items`: whatever is left is no object, so no pod.
  const auto items = list.find("items");
  if (items == list.end() || !(items->is_array() || items->is_null()) || !items->empty()) {
    return NotAList();
  }
  if (!all_named) return Invalid("a list with a pod without a name");
  const json* metadata = ObjectMember(&list, "metadata");
  return CheckedPage({.revision = RevisionOf(StringMember(metadata, "resourceVersion")),
                      .continue_token = StringMember(metadata, "continue")});
}

Result<KubeEvent> EventFromJson(std::string_view frame) {
  constexpr int kMetadataDepth = 2;
  const json message = ParseBoundedJson(frame, "managedFields", kMetadataDepth);
  const json* object = message.is_object() ? ObjectMember(&message, "object") : nullptr;
  if (object == nullptr) return Invalid("not a watch event");
  const KubeEvent::Type type = TypeOf(StringMember(&message, "type"));
  if (type == KubeEvent::Type::kUnknown) return KubeEvent();
  const bool error = type == KubeEvent::Type::kError;
  if (!IsKind(*object, error ? "Status" : "Pod")) {
    return Invalid(error ? "an ERROR event without a Status" : "an event of no v1 Pod");
  }
  return error ? ErrorEvent(StatusFromJson(*object)) : PodEvent(type, PodOf(*object));
}

bool IsJson(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && text[first] == '{';
}

}  // namespace

Result<KubeListPage> DecodeKubeList(std::string_view body,
                                    const std::function<void(KubePod)>& each) {
  return IsJson(body) ? ListFromJson(body, each) : ListFromProtobuf(body, each);
}

Result<KubeEvent> DecodeKubeEvent(std::string_view frame) {
  return IsJson(frame) ? EventFromJson(frame) : EventFromProtobuf(frame);
}

KubeStatus DecodeKubeStatus(std::string_view body) {
  if (!IsJson(body)) {
    const std::optional<std::string> raw = Unwrap(body, "Status");
    return raw ? StatusFromProtobuf(*raw) : KubeStatus();
  }
  const json value = ParseBoundedJson(body);
  return value.is_object() && IsKind(value, "Status") ? StatusFromJson(value) : KubeStatus();
}

}  // namespace podmirror::discovery
