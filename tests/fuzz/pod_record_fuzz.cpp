// Whatever bytes lie under a key of the store: they are refused with a reason that a log can show,
// or they are a pod that JSON and protobuf say alike and that the rules for peers judge within
// their bounds.
//
// Input: the first line is a label selector, maybe ';' and the name of a container; the rest is the
// record.
#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "discovery/pod_record.h"
#include "discovery/pod_store.h"
#include "discovery/selector.h"
#include "fuzz/require.h"
#include "kubernetes/pod.pb.h"
#include "net/address.h"

namespace podmirror::discovery {
namespace {

using fuzz::Require;
using nlohmann::json;

constexpr std::size_t kMaxReasonBytes = 256;
constexpr std::size_t kMaxTextBytes = 253;
constexpr WallMs kYear10000Ms = 253402300800'000;

bool IsPlain(std::string_view text) {
  return text.size() <= kMaxTextBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

void CheckReason(const Status& status) {
  const std::string& reason = status.message();
  Require(!reason.empty() && reason.size() <= kMaxReasonBytes, "a reason is short");
  Require(std::all_of(reason.begin(), reason.end(), [](char c) { return c >= ' ' && c <= '~'; }),
          "a reason does not disturb a log");
}

// --- the pod in both encodings ---

json TimeJson(WallMs ms) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

json SpecsJson(const std::vector<ContainerSpec>& specs) {
  json list = json::array();
  for (const ContainerSpec& spec : specs) {
    list.push_back(
        {{"name", spec.name}, {"restartPolicy", spec.always_restarted ? "Always" : "Never"}});
  }
  return list;
}

json StatusesJson(const std::vector<ContainerStatus>& statuses) {
  json list = json::array();
  for (const ContainerStatus& status : statuses) {
    json state = json::object();
    if (status.running) state["running"] = json::object();
    if (status.started_at_ms != 0) state["running"]["startedAt"] = TimeJson(status.started_at_ms);
    list.push_back({{"name", status.name}, {"ready", status.ready}, {"state", state}});
  }
  return list;
}

// Tells everything that a Pod holds, so it also serves to compare pods.
json ToJson(const Pod& pod) {
  json labels = json::object();
  for (const auto& [key, value] : pod.labels) labels[key] = value;
  json ips = json::array();
  for (const std::string& ip : pod.pod_ips) ips.push_back({{"ip", ip}});
  json record = {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata",
       {{"name", pod.name}, {"namespace", pod.ns}, {"uid", pod.uid}, {"labels", labels}}},
      {"spec",
       {{"containers", SpecsJson(pod.containers)},
        {"initContainers", SpecsJson(pod.init_containers)}}},
      {"status",
       {{"phase", pod.phase},
        {"podIP", pod.pod_ip},
        {"podIPs", ips},
        {"hostIP", pod.host_ip},
        {"containerStatuses", StatusesJson(pod.container_statuses)},
        {"initContainerStatuses", StatusesJson(pod.init_container_statuses)}}}};
  if (!pod.static_uid.empty()) {
    record["metadata"]["annotations"] = {{kMirrorAnnotation, "x"},
                                         {kHashAnnotation, pod.static_uid}};
  }
  // A time before 1970 is set and unknown.
  if (pod.terminating) {
    record["metadata"]["deletionTimestamp"] =
        TimeJson(pod.deletion_at_ms != 0 ? pod.deletion_at_ms : -1000);
  }
  if (pod.start_time_ms != 0) record["status"]["startTime"] = TimeJson(pod.start_time_ms);
  record["status"]["conditions"] = json::array();
  for (const auto& [type, status] :
       {std::pair("Ready", &pod.ready), std::pair("ContainersReady", &pod.containers_ready)}) {
    if (*status) record["status"]["conditions"].push_back({{"type", type}, {"status", **status}});
  }
  return record;
}

// Bytes that are not UTF-8, which protobuf may hold, are replaced.
std::string Describe(const Pod& pod) {
  return ToJson(pod).dump(-1, ' ', false, json::error_handler_t::replace);
}

void ToProto(const std::vector<ContainerSpec>& specs,
             google::protobuf::RepeatedPtrField<kubernetes::Container>* out) {
  for (const ContainerSpec& spec : specs) {
    kubernetes::Container* container = out->Add();
    container->set_name(spec.name);
    if (spec.always_restarted) container->set_restart_policy("Always");
  }
}

void ToProto(const std::vector<ContainerStatus>& statuses,
             google::protobuf::RepeatedPtrField<kubernetes::ContainerStatus>* out) {
  for (const ContainerStatus& status : statuses) {
    kubernetes::ContainerStatus* container = out->Add();
    container->set_name(status.name);
    container->set_ready(status.ready);
    if (!status.running) continue;
    container->mutable_state()->mutable_running()->mutable_started_at()->set_seconds(
        status.started_at_ms / 1000);
  }
}

// As it lies in the store, magic included. Protobuf knows whole seconds only.
std::string ToProtobuf(const Pod& pod) {
  kubernetes::Pod to;
  to.mutable_metadata()->set_name(pod.name);
  to.mutable_metadata()->set_namespace_(pod.ns);
  to.mutable_metadata()->set_uid(pod.uid);
  for (const auto& [key, value] : pod.labels) {
    kubernetes::Label* label = to.mutable_metadata()->add_labels();
    label->set_key(key);
    label->set_value(value);
  }
  if (!pod.static_uid.empty()) {
    for (const auto& [key, value] : {std::pair(kMirrorAnnotation, std::string("x")),
                                     std::pair(kHashAnnotation, pod.static_uid)}) {
      kubernetes::Label* annotation = to.mutable_metadata()->add_annotations();
      annotation->set_key(std::string(key));
      annotation->set_value(value);
    }
  }
  if (pod.terminating) {
    const WallMs seconds = pod.deletion_at_ms / 1000;
    to.mutable_metadata()->mutable_deletion_timestamp()->set_seconds(seconds != 0 ? seconds : -1);
  }
  ToProto(pod.containers, to.mutable_spec()->mutable_containers());
  ToProto(pod.init_containers, to.mutable_spec()->mutable_init_containers());
  to.mutable_status()->set_phase(pod.phase);
  to.mutable_status()->set_pod_ip(pod.pod_ip);
  for (const std::string& ip : pod.pod_ips) to.mutable_status()->add_pod_ips()->set_ip(ip);
  to.mutable_status()->set_host_ip(pod.host_ip);
  to.mutable_status()->mutable_start_time()->set_seconds(pod.start_time_ms / 1000);
  for (const auto& [type, status] :
       {std::pair("Ready", &pod.ready), std::pair("ContainersReady", &pod.containers_ready)}) {
    if (!*status) continue;
    kubernetes::PodCondition* condition = to.mutable_status()->add_conditions();
    condition->set_type(type);
    condition->set_status(**status);
  }
  ToProto(pod.container_statuses, to.mutable_status()->mutable_container_statuses());
  ToProto(pod.init_container_statuses, to.mutable_status()->mutable_init_container_statuses());
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind("Pod");
  unknown.set_raw(to.SerializeAsString());
  return std::string("k8s\0", 4) + unknown.SerializeAsString();
}

Pod InWholeSeconds(Pod pod) {
  const auto cut = [](WallMs& ms) { ms -= ms % 1000; };
  cut(pod.deletion_at_ms);
  cut(pod.start_time_ms);
  for (ContainerStatus& status : pod.container_statuses) cut(status.started_at_ms);
  for (ContainerStatus& status : pod.init_container_statuses) cut(status.started_at_ms);
  return pod;
}

bool IsTime(WallMs ms) { return ms >= 0 && ms < kYear10000Ms; }

void CheckPod(const Pod& pod) {
  Require(std::adjacent_find(pod.labels.begin(), pod.labels.end(),
                             [](const auto& a, const auto& b) { return a.first >= b.first; }) ==
              pod.labels.end(),
          "labels are sorted and unique");
  Require(IsTime(pod.deletion_at_ms) && IsTime(pod.start_time_ms), "times are times");
  Require(pod.terminating || pod.deletion_at_ms == 0, "only what terminates has a deletion time");
  for (const auto* statuses : {&pod.container_statuses, &pod.init_container_statuses}) {
    for (const ContainerStatus& status : *statuses) {
      Require(IsTime(status.started_at_ms), "times are times");
      Require(status.running || status.started_at_ms == 0, "only what runs has started");
    }
  }
}

void CheckSameAs(const Pod& pod, const std::string& value, const char* promise) {
  const Result<Pod> again = DecodePod(value);
  Require(again.ok() && Describe(*again) == Describe(pod), promise);
}

void CheckEncodings(const Pod& pod) {
  const Pod cut = InWholeSeconds(pod);
  const std::string protobuf = ToProtobuf(cut);
  CheckSameAs(cut, protobuf, "protobuf says the same pod");
  std::string base64;
  absl::Base64Escape(protobuf, &base64);
  CheckSameAs(cut, base64, "protobuf in base64 says the same pod");
  try {
    CheckSameAs(pod, ToJson(pod).dump(), "JSON says the same pod");
  } catch (const json::type_error&) {
    // Not UTF-8, which JSON cannot say.
  }
}

// --- selectors ---

// Texts that select as `text` does, or that none of the labels meets.
void CheckSelector(const std::string& text, const Pod& pod) {
  const Result<Selector> selector = Selector::Parse(text);
  if (!selector.ok()) return Require(!selector.status().message().empty(), "a refusal says why");
  const auto matches = [&](const std::string& other) {
    const Result<Selector> parsed = Selector::Parse(other);
    Require(parsed.ok(), "a variant of a selector is one");
    return parsed->Matches(pod.labels);
  };
  const bool selected = selector->Matches(pod.labels);
  Require(matches(" " + text + "\t") == selected, "blanks do not matter");
  if (text.find_first_not_of(" \t") == std::string::npos) return;
  Require(matches(text + "," + text) == selected, "asked twice is asked once");
  for (const auto& [key, value] : pod.labels) {
    const std::string wanted = key + "=" + value;
    const bool writable = !key.empty() && std::all_of(wanted.begin(), wanted.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
             std::string_view("-_./=").find(c) != std::string_view::npos;
    });
    if (!writable || std::count(wanted.begin(), wanted.end(), '=') != 1) continue;
    Require(matches(text + "," + wanted + "," + key) == selected, "a label of the pod is met");
    Require(!matches(text + ",!" + key), "what the pod has is not missing");
    Require(!matches(text + "," + key + " notin (" + value + ")"), "what is listed is not outside");
  }
}

// --- the rules for peers ---

const Identity kSelf{.name = "relay-self", .ns = "default", .uid = "u-self", .ip = "10.9.9.9"};
constexpr std::uint16_t kPeerPort = 7070;

PeerRules RulesOf(const std::string& selector, const std::string& container) {
  PodFilter filter{.self = kSelf,
                   .ns = "default",
                   .service = {},
                   .selector = selector,
                   .container = container,
                   .peer_port = kPeerPort};
  Result<PeerRules> rules = PeerRules::New(filter);
  if (rules.ok()) return *rules;
  filter.selector.clear();
  filter.service = "relay";
  return *PeerRules::New(filter);
}

void CheckSet(const PeerSet& set) {
  std::set<std::string> ids;
  std::set<std::string> addresses;
  std::vector<PodRecord> all = set.peers;
  all.insert(all.end(), set.terminating.begin(), set.terminating.end());
  for (const auto* pods : {&set.peers, &set.terminating}) {
    Require(std::is_sorted(pods->begin(), pods->end(), OlderThan), "oldest first");
  }
  for (const PodRecord& peer : all) {
    Require(!peer.name.empty() && IsPlain(peer.name) && IsPlain(peer.uid) && IsPlain(peer.phase),
            "texts of a record are plain");
    Require(!peer.ip.empty() && net::CanonicalIp(peer.ip) == peer.ip, "an address is canonical");
    Require(peer.port == kPeerPort && (peer.phase == "Running" || peer.phase == "Pending"),
            "a peer may run and has a port");
    Require(peer.uid != kSelf.uid && peer.ip != kSelf.ip, "nobody is his own peer");
    Require(ids.insert(peer.id()).second && addresses.insert(peer.ip).second,
            "each peer and each address is there once");
  }
}

// The pod, the same under another address, and another pod that has its address.
void CheckNeighbours(const Pod& pod, const PeerRules& rules) {
  Pod moved = pod;
  moved.uid = "u-moved";
  moved.pod_ip = "10.8.8.8";
  Pod reused = pod;
  reused.uid = "u-reused";
  PodStore store(rules, [](const std::string&, const std::string&) {});
  for (const Pod& one : {pod, moved, reused}) {
    Require(store.Put(store.Read(one.uid, 1, ToProtobuf(one))).ok(), "there is room");
  }
  CheckSet(store.MakeSet("here"));
}

void CheckStore(std::string_view value, const PeerRules& rules) {
  int unreadable = 0;
  PodStore store(rules, [&](const std::string&, const std::string&) { ++unreadable; });
  const auto put = [&](std::string key, std::int64_t revision, std::string_view bytes) {
    Require(store.Put(store.Read(std::move(key), revision, bytes)).ok(), "there is room");
    return store.MakeSet("here");
  };
  const ReadRecord read = store.Read("a", 5, value);
  if (!read.judgement.ok()) CheckReason(read.judgement.status());
  const PeerSet set = put("a", 5, value);
  CheckSet(set);
  const std::size_t pods = set.peers.size() + set.terminating.size();
  Require(pods + (set.self_listed ? 1 : 0) <= 1, "one record is one pod at most");
  Require(read.judgement.ok() || (pods == 0 && !set.self_listed), "what cannot be read is nobody");
  Require((unreadable == 1) == !read.judgement.ok(), "what cannot be read is reported");

  unreadable = 0;
  Require(put("a", 5, "older") == set && unreadable == 0, "only what is newer counts");
  Require(put("a", 6, "broken") == set && unreadable == 1, "what was known stays");
  Require(put("a", 6, "broken") == set && unreadable == 1, "each revision is reported once");
  Require(put("b", 7, value) == set, "one pod under two keys is one peer");
  store.Erase("a", 6);
  Require(store.MakeSet("here") == set, "an older change erases nothing");
  store.EraseBelow("", 8);
  const PeerSet none = store.MakeSet("here");
  Require(none.peers.empty() && none.terminating.empty() && !none.self_listed,
          "what is erased is gone");
}

}  // namespace

void CheckInput(std::string_view input) {
  const std::size_t line = std::min(input.find('\n'), input.size());
  const std::string_view head = input.substr(0, line);
  const std::string_view value = input.substr(std::min(line + 1, input.size()));
  const std::size_t mark = std::min(head.find(';'), head.size());
  const std::string selector(head.substr(0, mark));
  const std::string container(head.substr(std::min(mark + 1, head.size())));

  const PeerRules rules = RulesOf(selector, container);
  const Result<Pod> pod = DecodePod(value);
  if (pod.ok()) {
    CheckPod(*pod);
    CheckEncodings(*pod);
    CheckNeighbours(*pod, rules);
  } else {
    CheckReason(pod.status());
  }
  CheckSelector(selector, pod.ok() ? *pod : Pod());
  CheckStore(value, rules);
}

}  // namespace podmirror::discovery

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::discovery::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
