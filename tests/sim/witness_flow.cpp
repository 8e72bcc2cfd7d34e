#include "sim/witness_flow.h"

#include <algorithm>

namespace podmirror::sim {
namespace {

constexpr std::uint64_t kSmall = 1024;
// A fragment is before it, another one comes while a heartbeat and an answer are due, and a pod has
// other things to do.
constexpr std::uint64_t kFragmentsBefore = 3;
constexpr SteadyMs kPatience = 10'000;
constexpr SteadyMs kSettling = 15'000;  // after a start

}  // namespace

void Flow::Expect(SteadyMs delay, std::uint64_t bytes_per_ms, std::uint64_t backlog_bytes) {
  delay_ = delay;
  bytes_per_ms_ = bytes_per_ms;
  backlog_bytes_ = backlog_bytes;
  world_.watch.lost = [this](Process& at, const sync::Event& event) {
    for (const int pod : world_.Running()) {
      const Process& peer = world_.process(pod);
      if (NameOf(peer) != event.peer || world_.now() - peer.started_at < kSettling) continue;
      witness_.Fail(NameOf(at) + " lost " + event.peer + " on a way that is up: " + event.detail);
    }
  };
}

void Flow::Written(const Process& at, const sync::WriteItem& item) {
  if (bytes_per_ms_ == 0) return;
  const EntryRef held = at.cache->Peek(item.type, item.key);
  if (!held) return;
  bytes_ += item.value.size();
  // What falls out of the backlog comes by a pass, where one large value is behind the other, and
  // small ones between them.
  const bool passes_others = item.value.size() <= kSmall && bytes_ <= backlog_bytes_;
  const std::uint64_t fragments =
      (passes_others ? 0 : 3 * bytes_ / sync::kFragmentBytes) + kFragmentsBefore;
  // Each is sent when the one before it has been answered.
  const std::uint64_t round =
      sync::kFragmentBytes / bytes_per_ms_ + 2 * static_cast<std::uint64_t>(delay_);
  const auto takes = static_cast<SteadyMs>(fragments * round) + kPatience;
  sent_.push_back({item.type, std::string(item.key), held->version(), world_.now() + takes});
}

int Flow::Lacks(const Sent& sent) const {
  for (const int pod : world_.Serving()) {
    if (world_.now() - world_.process(pod).started_at < kSettling) continue;
    const EntryRef held = world_.cache(pod).Peek(sent.type, sent.key);
    if (!held || held->version() < sent.version) return pod;
  }
  return 0;
}

void Flow::Check() {
  std::erase_if(sent_, [this](const Sent& sent) {
    const int lacks = Lacks(sent);
    if (lacks == 0) return true;
    if (world_.now() < sent.due) return false;
    witness_.Fail("pod-" + std::to_string(lacks) + " has not got " + sent.key + "@" +
                  sent.version.ToString() + " in the time that its way takes");
    return true;
  });
}

bool Flow::AllReady() const {
  const std::vector<int> running = world_.Running();
  return std::all_of(running.begin(), running.end(),
                     [this](int pod) { return world_.process(pod).was_ready; });
}

void Flow::CheckAllArrive(SteadyMs until) {
  const auto copy = static_cast<SteadyMs>(4 * bytes_ / bytes_per_ms_) + 60'000;
  until = std::min(until, world_.now() + copy);
  while ((!sent_.empty() || !AllReady()) && world_.now() < until) {
    world_.RunUntil(world_.now() + 500);
    Check();
  }
  for (const int pod : world_.Running()) {
    if (world_.process(pod).was_ready) continue;
    witness_.Fail("pod-" + std::to_string(pod) + " is not ready in the time that its way takes: " +
                  world_.driver(pod).Status().reason);
  }
}

}  // namespace podmirror::sim
