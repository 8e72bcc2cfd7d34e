// Whatever the Kubernetes API, or who stands in its place, sends as a list, a watch or a Status: it
// is refused with a reason, or it is read within its bounds; and a watch says the same in whatever
// pieces it comes.
//
// Input: a byte that says how long the pieces are, then the body.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "discovery/kube_api_codec.h"
#include "discovery/kube_api_stream.h"
#include "discovery/pod_store.h"
#include "fuzz/require.h"

namespace podmirror::discovery {
namespace {

using fuzz::Require;

constexpr std::size_t kMaxTextBytes = 1024;
constexpr std::size_t kMaxTokenBytes = 8192;

void CheckStatus(const KubeStatus& status) {
  Require(status.message.size() <= kMaxTextBytes && status.reason.size() <= kMaxTextBytes,
          "texts of a Status are short");
  Require(status.retry_after.count() >= 0, "nobody is asked to come back earlier");
}

// That a store takes it, whatever it is.
void CheckPod(const KubePod& pod) {
  Require(!pod.name.empty(), "a pod has a name");
  Require(pod.revision >= -1, "a revision is a number, or none");
  Require(pod.revision >= 0 || !pod.pod.ok(), "a pod without a revision is unreadable");
  PodFilter filter;
  filter.ns = "default";
  filter.service = "r";
  static const PeerRules rules = *PeerRules::New(filter);
  PodStore store(rules, [](const std::string&, const std::string&) {});
  Require(store.Replace({ReadPod(rules, pod.name, pod.revision, pod.pod)}).ok(), "there is room");
  Require(store.MakeSet("here").peers.size() <= 1, "one record is one pod at most");
}

void CheckList(std::string_view body) {
  std::size_t pods = 0;
  const Result<KubeListPage> page = DecodeKubeList(body, [&](const KubePod& pod) {
    ++pods;
    CheckPod(pod);
  });
  Require(pods <= body.size(), "a pod is not made of nothing");
  if (!page.ok()) return Require(!page.status().message().empty(), "a refusal says why");
  Require(page->revision >= 0, "a list has a revision");
  Require(page->continue_token.size() <= kMaxTokenBytes, "a token is short");
}

struct Cut {
  std::vector<std::string> frames;
  Code code = Code::kOk;
  bool mid_frame = false;
};

Cut CutUp(std::string_view body, std::size_t size) {
  Cut cut;
  KubeWatchStream stream;
  for (std::size_t at = 0; at < body.size() && cut.code == Code::kOk; at += size) {
    cut.code = stream
                   .Add(body.substr(at, size),
                        [&](std::string_view frame) {
                          cut.frames.emplace_back(frame);
                          return Status();
                        })
                   .code();
  }
  cut.mid_frame = stream.mid_frame();
  return cut;
}

void CheckWatch(std::string_view body, std::size_t size) {
  const Cut whole = CutUp(body, std::max<std::size_t>(body.size(), 1));
  const Cut pieces = CutUp(body, size);
  Require(whole.frames == pieces.frames && whole.code == pieces.code,
          "pieces of any size say the same");
  Require(whole.code != Code::kOk || whole.mid_frame == pieces.mid_frame,
          "what is missing does not depend on the pieces");
  for (const std::string& frame : whole.frames) {
    Require(frame.size() <= kMaxFrameBytes, "a frame is not too long");
    const Result<KubeEvent> event = DecodeKubeEvent(frame);
    if (!event.ok()) {
      Require(!event.status().message().empty(), "a refusal says why");
      continue;
    }
    using enum KubeEvent::Type;
    const bool about_a_pod = event->type == kPut || event->type == kDelete;
    Require(event->pod.has_value() == about_a_pod, "an event of a pod says of which");
    Require(event->revision >= 0, "an event has a revision");
    Require(event->type != kError || event->status.code > 0, "an error has a code");
    CheckStatus(event->status);
    if (event->pod) CheckPod(*event->pod);
  }
}

}  // namespace

void CheckInput(std::string_view input) {
  if (input.empty()) return;
  const std::size_t size = static_cast<unsigned char>(input[0]) % 64 + 1;
  const std::string_view body = input.substr(1);
  CheckList(body);
  CheckStatus(DecodeKubeStatus(body));
  CheckWatch(body, size);
}

}  // namespace podmirror::discovery

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::discovery::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
