#include "scenario/text.h"

#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <utility>
#include <variant>

#include "sim/sim_world.h"

namespace podmirror::scenario {
namespace {

using Units = std::pair<std::string_view, std::int64_t>;

// "5s" with the units {"s", 1000} is 5000. The first unit that fits counts.
template <std::size_t N>
std::int64_t WithUnit(std::string_view text, const Units (&units)[N]) {
  for (const auto& [unit, factor] : units) {
    if (text.ends_with(unit)) return factor * Number(text.substr(0, text.size() - unit.size()));
  }
  throw std::runtime_error("its unit is missing: " + std::string(text));
}

std::string Count(std::size_t number, std::string_view what) {
  return std::to_string(number) + " " + std::string(what) + (number == 1 ? "" : "s");
}

std::string Reply(const sync::HelloReply& reply) {
  if (reply.refusal != sync::RefusalReason::kNone) return "HelloReply, refused: " + reply.detail;
  return reply.self.synced ? "HelloReply, synced" : "HelloReply, not synced";
}

std::string Fetched(const sync::FetchReply& reply) {
  if (reply.busy) return "FetchReply, busy";
  return "FetchReply with " + std::to_string(reply.entries.size()) + " entries" +
         (reply.done ? ", the last" : "");
}

}  // namespace

std::int64_t Number(std::string_view text) {
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) {
    throw std::runtime_error("not a number: " + std::string(text));
  }
  return value;
}

std::int64_t Duration(std::string_view text) {
  return WithUnit(text, {Units{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}});
}

std::uint64_t Size(std::string_view text) {
  return static_cast<std::uint64_t>(WithUnit(text, {Units{"KiB", 1024}, {"MiB", 1024 * 1024}}));
}

bool Truth(std::string_view text) {
  if (text != "true" && text != "false") {
    throw std::runtime_error("neither true nor false: " + std::string(text));
  }
  return text == "true";
}

sync::AckLevel Ack(std::string_view text) {
  using sync::AckLevel;
  for (const AckLevel level :
       {AckLevel::kLocal, AckLevel::kOne, AckLevel::kMajority, AckLevel::kAll}) {
    if (text == ToString(level)) return level;
  }
  throw std::runtime_error("not an acknowledgement: " + std::string(text));
}

std::string ToText(std::uint64_t hlc) {
  char text[64];
  const auto since = static_cast<double>(WallOf(hlc) - sim::SimWorld::kEpoch);
  std::snprintf(text, sizeof(text), "%.1fs", since / 1000);
  const std::uint64_t steps = hlc - HlcOf(WallOf(hlc));
  return steps == 0 ? text : text + ("+" + std::to_string(steps));
}

std::string ToText(sync::WriteRefusal refusal) {
  switch (refusal) {
    case sync::WriteRefusal::kNone:
      return "none";
    case sync::WriteRefusal::kNotReady:
      return "503 not ready";
    case sync::WriteRefusal::kDraining:
      return "503 draining";
    case sync::WriteRefusal::kOutOfMemory:
      return "507 out of memory";
    case sync::WriteRefusal::kTooLarge:
      return "413 too large";
  }
  return "unknown";
}

std::string ToText(const sync::WriteOutcome& outcome) {
  if (outcome.failed) {
    return "412, " + (outcome.found ? "version " + ToText(outcome.found->hlc) : "nothing") +
           " is here";
  }
  if (outcome.winner) return "409, lost to version " + ToText(outcome.winner->hlc);
  std::string text = outcome.met ? "200" : "202";
  text += ", acknowledged by " + std::to_string(outcome.acked) + " of " +
          std::to_string(outcome.peers) + " peers";
  for (std::size_t i = 0; i < outcome.pending.size(); ++i) {
    text += (i == 0 ? ", pending: " : " ") + outcome.pending[i];
  }
  return text;
}

std::string ToText(const sync::Event& event) {
  using sync::EventKind;
  std::string text(ToString(event.kind));
  if (!event.peer.empty()) text += " " + event.peer;
  if (event.kind == EventKind::kBootstrapStarted) {
    return text +
           (event.numbers.at(0).second == 0 ? " from the first bucket" : " going on in the middle");
  }
  switch (event.kind) {
    case EventKind::kPeerAdded:
    case EventKind::kPeerConnected:
    case EventKind::kPeerRefused:  // the reason is in the HelloReply, see `wire`
      return text;
    default:
      break;
  }
  if (!event.detail.empty()) text += (event.peer.empty() ? " " : ": ") + event.detail;
  for (const auto& [name, number] : event.numbers) {
    if (name != "ms" && name != "bytes") {
      text += " " + std::string(name) + "=" + std::to_string(number);
    }
  }
  return text;
}

std::string ToText(const sync::Message& message) {
  struct Sayer {
    std::string operator()(const sync::Hello& m) const { return "Hello to " + m.expected_uid; }
    std::string operator()(const sync::HelloReply& m) const { return Reply(m); }
    std::string operator()(const sync::Batch& m) const {
      return "Batch " + std::to_string(m.first_seq) + ".." + std::to_string(m.last_seq);
    }
    std::string operator()(const sync::Ack& m) const { return "Ack " + std::to_string(m.seq); }
    std::string operator()(const sync::Heartbeat&) const { return ""; }
    std::string operator()(const sync::SumsRequest& m) const {
      return m.groups.empty() ? "SumsRequest"
                              : "SumsRequest for " + Count(m.groups.size(), "group");
    }
    std::string operator()(const sync::Sums& m) const {
      return m.groups.empty() ? "Sums" : "Sums of " + Count(m.groups.size(), "group");
    }
    std::string operator()(const sync::Offer& m) const {
      return "Offer of " + Count(m.buckets.size(), "bucket") + ", lists " +
             Count(m.listed.size(), "key");
    }
    std::string operator()(const sync::OfferReply& m) const {
      return "OfferReply sends " + std::to_string(m.entries.size()) + ", wants " +
             std::to_string(m.wants.size()) +
             (m.large.empty() ? "" : ", lists " + std::to_string(m.large.size()) + " large");
    }
    std::string operator()(const sync::Push& m) const {
      return "Push sends " + std::to_string(m.entries.size());
    }
    std::string operator()(const sync::PushReply&) const { return "PushReply"; }
    std::string operator()(const sync::Fetch& m) const {
      return m.from == sync::Position{} ? "Fetch from the first bucket" : "Fetch, going on";
    }
    std::string operator()(const sync::FetchReply& m) const { return Fetched(m); }
    std::string operator()(const sync::FragmentRequest& m) const {
      return "FragmentRequest from " + std::to_string(m.offset);
    }
    std::string operator()(const sync::Fragment& m) const {
      return "Fragment " + std::to_string(m.offset) + ".." +
             std::to_string(m.offset + m.bytes.size()) + " of " + std::to_string(m.total);
    }
    std::string operator()(const sync::FragmentReply& m) const {
      return "FragmentReply " + (m.later ? "later" : std::to_string(m.next)) +
             (m.dead ? ", dead" : "");
    }
  };
  return std::visit(Sayer{}, message);
}

}  // namespace podmirror::scenario
