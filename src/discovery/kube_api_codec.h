// What the Kubernetes API says of pods, decoded: lists, events of a watch and Status, each as JSON
// or protobuf, told apart by their first byte.
// Thread safety: pure functions on plain values.
// Invariants: (1) decoding never throws and its memory is bounded by a multiple of the answer's
//                 size, whatever the bytes are.
//             (2) one pod that cannot be read does not keep the others from being read.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "discovery/pod_record.h"

namespace podmirror::discovery {

struct KubePod {
  std::string name;           // never empty
  std::int64_t revision = 0;  // its resourceVersion; -1 when it cannot be read
  Result<Pod> pod;
};

struct KubeListPage {
  std::int64_t revision = 0;   // resourceVersion of the list, the same on all its pages
  std::string continue_token;  // for the next page; empty: this is the last one
};

// A Status: how the API says why it does not do what it was asked.
struct KubeStatus {
  int code = 0;         // like an HTTP status; 0: there was no Status
  std::string reason;   // one word: Expired, Forbidden
  std::string message;  // for people, at most 1 KiB
  std::chrono::seconds retry_after{0};
};

struct KubeEvent {
  enum class Type {
    kPut,       // ADDED, MODIFIED
    kDelete,    // DELETED: gone, or no longer selected
    kBookmark,  // nothing happened up to this revision
    kError,     // the watch ends here; `status` says why
    kUnknown    // of a later version of the API
  };
  Type type = Type::kUnknown;
  std::int64_t revision = 0;   // of kPut, kDelete, kBookmark
  std::optional<KubePod> pod;  // of kPut, kDelete
  KubeStatus status;           // of kError
};

// Hands each pod to `each`. kInvalid when `body` is not a whole v1 PodList, or a pod in it has no
// name; the pods handed out before do not count then.
Result<KubeListPage> DecodeKubeList(std::string_view body,
                                    const std::function<void(KubePod pod)>& each);

// Decodes one frame of a watch (kube_api_stream.h). kInvalid when the frame is not an event, or is
// an event that does not tell its pod or its revision.
Result<KubeEvent> DecodeKubeEvent(std::string_view frame);

// The Status in the body of an answer; all empty when there is none.
KubeStatus DecodeKubeStatus(std::string_view body);

}  // namespace podmirror::discovery
