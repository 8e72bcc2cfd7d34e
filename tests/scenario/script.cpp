#include "scenario/script.h"

#include <cstdio>
#include <sstream>
#include <stdexcept>

#include "scenario/text.h"

namespace podmirror::scenario {
namespace {

// A value for the record: as it is, or how long it is.
std::string Brief(std::string_view value) {
  constexpr std::size_t kLongest = 60;
  return value.size() <= kLongest ? std::string(value) : std::to_string(value.size()) + " bytes";
}

constexpr std::int32_t kType = 1;
constexpr std::size_t kShown = 10;  // entries
constexpr SteadyMs kUsualLag = 500;
constexpr SteadyMs kLate = 10'000;  // the middle of the range counts

// "name=value", taken apart; the value is empty without "=".
std::pair<std::string, std::string> Split(const std::string& word) {
  const std::size_t is = word.find('=');
  return {word.substr(0, is), is == std::string::npos ? "" : word.substr(is + 1)};
}

}  // namespace

const std::string& Script::Words::At(std::size_t at) const {
  if (at >= words.size()) throw std::runtime_error(words.at(0) + ": something is missing");
  return words[at];
}

int Script::Words::Pod(std::size_t at) const { return static_cast<int>(Number(At(at))); }

Script::Script()
    : world_([] {
        sim::SimOptions options;
        options.plain = true;
        return options;
      }()) {
  Watch();
  AddPodVerbs();
  AddOtherVerbs();
}

void Script::Watch() {
  world_.watch.event = [this](sim::Process& at, const sync::Event& event) {
    if (!hidden_.contains(std::string(ToString(event.kind)))) SayPod(at.pod, ToText(event));
  };
  world_.watch.ended = [this](sim::Process& process, bool clean) {
    if (process.draining) SayPod(process.pod, clean ? "ended" : "killed after its grace period");
  };
  world_.watch.unknown_peer = [this](sim::Process& at) {
    SayPod(at.pod, "somebody unknown says hello: lists the records again");
  };
  world_.watch.sent = [this](const sim::Process& from, const sim::Process& to,
                             const sync::Message& message) {
    const std::string text = ToText(message);
    if (text.empty() || !wire_.contains(from.pod) || !wire_.contains(to.pod)) return;
    SayPod(from.pod, "-> pod-" + std::to_string(to.pod) + " " + text);
  };
}

void Script::AddPodVerbs() {
  verbs_ = {
      {"fleet", [this](const Words& words) { Fleet(words.Pod(1)); }},
      {"start", [this](const Words& words) { Start(words); }},
      {"crash", [this](const Words& words) { world_.CrashPod(Running(words, 1), false); }},
      {"vanish", [this](const Words& words) { world_.CrashPod(Running(words, 1), true); }},
      {"pause", [this](const Words& words) { world_.PausePod(Running(words, 1), true); }},
      {"continue", [this](const Words& words) { world_.PausePod(Running(words, 1), false); }},
      {"drain", [this](const Words& words) { world_.DrainPod(Running(words, 1)); }},
      {"terminate",
       [this](const Words& words) {
         world_.TerminatePod(Running(words, 1), Duration(words.At(2)));
       }},
      {"skew", [this](const Words& words) { world_.SetSkew(words.Pod(1), Duration(words.At(2))); }},
      {"record",
       [this](const Words& words) {
         world_.AddPod(words.Pod(1), words.Pod(1));
         world_.RestoreRecord(words.Pod(1));
       }},
      {"old", [this](const Words& words) { world_.AddOldPod(words.Pod(1), words.Pod(1)); }},
      {"foreign",
       [this](const Words& words) {
         world_.AddForeignPod(words.Pod(1), words.Pod(1));
         world_.StartPod(words.Pod(1));
       }},
      {"blind", [this](const Words& words) { world_.Blind(words.Pod(1), words.Pod(2), true); }},
      {"sighted", [this](const Words& words) { world_.Blind(words.Pod(1), words.Pod(2), false); }},
      {"unlist", [this](const Words& words) { world_.DropRecord(words.Pod(1)); }},
      {"list", [this](const Words& words) { world_.RestoreRecord(words.Pod(1)); }},
      {"discovery", [this](const Words& words) { Discovery(words); }},
      {"cut",
       [this](const Words& words) { world_.SetPartition(words.Pod(1), words.Pod(2), true); }},
      {"cut-way",
       [this](const Words& words) {
         world_.network().Cut(world_.address(words.Pod(1)), world_.address(words.Pod(2)), true);
       }},
      {"mend",
       [this](const Words& words) { world_.SetPartition(words.Pod(1), words.Pod(2), false); }},
      {"slow",
       [this](const Words& words) {
         const auto rate = words.words.size() > 4 ? Number(words.At(4)) : 0;
         world_.network().Slow(world_.address(words.Pod(1)), world_.address(words.Pod(2)),
                               Duration(words.At(3)), static_cast<std::uint64_t>(rate));
       }},
      {"reset",
       [this](const Words& words) { world_.ResetStreams(Running(words, 1), Running(words, 2)); }},
  };
}

void Script::AddOtherVerbs() {
  verbs_.insert({
      {"put", [this](const Words& words) { Write(words, false); }},
      {"put-here", [this](const Words& words) { WriteHere(words); }},
      {"delete", [this](const Words& words) { Write(words, true); }},
      {"fill",
       [this](const Words& words) {
         Fill(Running(words, 1), Number(words.At(2)), Number(words.At(3)));
       }},
      {"run",
       [this](const Words& words) { world_.RunUntil(world_.now() + Duration(words.At(1))); }},
      {"get", [this](const Words& words) { Get(Running(words, 1), words.At(2)); }},
      {"show", [this](const Words& words) { Show(Running(words, 1)); }},
      {"compare", [this](const Words&) { Compare(); }},
      {"wire",
       [this](const Words& words) {
         wire_.clear();
         if (words.At(1) != "off") wire_ = {words.Pod(1), words.Pod(2)};
       }},
      {"hide",
       [this](const Words& words) {
         hidden_ = {words.words.begin() + 1, words.words.end()};
       }},
      {"set",
       [this](const Words& words) {
         for (std::size_t i = 1; i < words.words.size(); ++i) Set(words.At(i));
       }},
  });
}

int Script::Running(const Words& words, std::size_t at) const {
  const int pod = words.Pod(at);
  if (!world_.running(pod)) throw std::runtime_error(words.At(0) + ": that pod does not run");
  return pod;
}

void Script::Say(const std::string& text) {
  if (!mute_) lines_.push_back(text);
}

void Script::SayPod(int pod, const std::string& text) {
  char when[32];
  std::snprintf(when, sizeof(when), "%6.1fs ", static_cast<double>(world_.now()) / 1000);
  Say(when + ("pod-" + std::to_string(pod)) + " " + text);
}

std::vector<std::string> Script::Do(std::string_view command) {
  std::istringstream stream{std::string(command)};
  Words words;
  for (std::string word; stream >> word;) words.words.push_back(word);
  const auto verb = verbs_.find(words.At(0));
  if (verb == verbs_.end()) throw std::runtime_error("unknown command: " + words.At(0));
  verb->second(words);
  world_.RunUntil(world_.now());  // what follows without time passing
  return std::exchange(lines_, {});
}

// --- pods ---

void Script::Fleet(int pods) {
  mute_ = true;
  for (int pod = 1; pod <= pods; ++pod) {
    world_.StartPod(pod);
    world_.RunUntil(world_.now() + 1000);
  }
  mute_ = false;
  if (world_.Serving().size() != static_cast<std::size_t>(pods)) {
    throw std::runtime_error("fleet: not all are ready");
  }
}

void Script::Start(const Words& words) {
  const int pod = words.Pod(1);
  if (world_.running(pod)) throw std::runtime_error("start: that pod runs");
  if (words.words.size() > 2) {
    const auto [name, value] = Split(words.At(2));
    if (name != "at") throw std::runtime_error("unknown option: " + words.At(2));
    world_.AddPod(pod, world_.address(static_cast<int>(Number(value))));
  }
  world_.StartPod(pod);
}

void Script::Discovery(const Words& words) {
  const int pod = words.Pod(1);
  const std::string& how = words.At(2);
  if (how != "silent" && how != "late" && how != "usual") {
    throw std::runtime_error("discovery: silent, late or usual");
  }
  world_.Lag(pod, how == "late" ? kLate : kUsualLag);
  world_.Silence(pod, how == "silent");
}

void Script::Set(const std::string& setting) {
  const auto [name, value] = Split(setting);
  sim::SimOptions& options = world_.options();
  if (name == "backlog") {
    options.backlog_bytes = Size(value);
  } else if (name == "max-memory") {
    options.max_memory = Size(value);
  } else if (name == "ttl") {
    options.tombstone_ttl_ms = Duration(value);
  } else if (name == "repair-interval") {
    options.repair_interval_ms = Duration(value);
  } else if (name == "bootstrap-timeout") {
    options.bootstrap_timeout_ms = Duration(value);
  } else if (name == "bootstrap-alone") {
    options.bootstrap_alone = Truth(value);
  } else if (name == "cluster") {
    options.cluster = value;
  } else if (name == "static") {
    options.static_peers = Truth(value);
  } else if (name == "tick") {
    options.tick_ms = Duration(value);
  } else if (name == "restart-seen") {
    options.restart_seen_ms = Duration(value);
  } else {
    throw std::runtime_error("unknown setting: " + name);
  }
}

// --- data ---

void Script::Write(const Words& words, bool remove) {
  const int pod = Running(words, 1);
  if (!remove && words.At(2).find('=') == std::string::npos) {
    throw std::runtime_error("put: KEY=VALUE is missing");
  }
  const auto [key, value] = Split(words.At(2));
  sync::WriteItem item;
  item.type = kType;
  item.key = key;
  item.value = value;
  item.remove = remove;
  sync::WriteOptions options;
  for (std::size_t i = 3; i < words.words.size(); ++i) {
    const auto [name, setting] = Split(words.At(i));
    if (name == "ack") {
      options.ack = Ack(setting);
    } else if (name == "timeout") {
      options.timeout_ms = Duration(setting);
    } else if (name == "ttl" && !remove) {
      item.ttl_ms = Duration(setting);
    } else if (name == "if") {
      const EntryRef held =
          world_.cache(std::stoi(setting)).Find(kType, key, sim::SimWorld::kEpoch + world_.now());
      options.condition = held ? Condition{held->version()} : Condition{};
    } else {
      throw std::runtime_error("unknown option: " + words.At(i));
    }
  }
  const std::string head = (remove ? "delete " : "put ") + words.At(2) + ": ";
  const auto done = [this, pod, head](const sync::WriteOutcome& outcome) {
    SayPod(pod, head + ToText(outcome));
  };
  const sync::WriteRefusal refusal = world_.driver(pod).Write({&item, 1}, options, done);
  if (refusal != sync::WriteRefusal::kNone) SayPod(pod, head + ToText(refusal));
}

void Script::WriteHere(const Words& words) {
  const int pod = Running(words, 1);
  const auto [key, value] = Split(words.At(2));
  sync::WriteItem item;
  item.type = kType;
  item.key = key;
  item.value = value;
  const sync::WriteRefusal refusal = world_.driver(pod).WriteLocal({&item, 1});
  if (refusal != sync::WriteRefusal::kNone) SayPod(pod, "put-here: " + ToText(refusal));
}

void Script::Fill(int pod, std::int64_t entries, std::int64_t bytes) {
  const std::string value(static_cast<std::size_t>(bytes), 'v');
  for (std::int64_t i = 0; i < entries; ++i) {
    const std::string key = "fill-" + std::to_string(i);
    sync::WriteItem item;
    item.type = kType;
    item.key = key;
    item.value = value;
    const sync::WriteOptions options{sync::AckLevel::kLocal, 0};
    const auto refusal =
        world_.driver(pod).Write({&item, 1}, options, [](const sync::WriteOutcome&) {});
    if (refusal != sync::WriteRefusal::kNone) throw std::runtime_error("fill: " + ToText(refusal));
  }
}

// --- what to look at ---

void Script::Get(int pod, const std::string& key) {
  const WallMs wall = world_.process(pod).env->now().wall;
  const EntryRef entry = world_.cache(pod).Find(kType, key, wall);
  std::string text = "get " + key + ": ";
  text += entry ? Brief(entry->value()) + ", version " + ToText(entry->version().hlc) : "404";
  SayPod(pod, text);
}

void Script::Show(int pod) {
  const sync::NodeStatus status = world_.driver(pod).Status();
  std::string state(ToString(status.state));
  if (!status.reason.empty()) state += ": " + status.reason;
  SayPod(pod, state);

  const Cache& cache = world_.cache(pod);
  const CacheStats stats = cache.Stats();
  Say("  " + std::to_string(stats.entries) + " entries, " + std::to_string(stats.tombstones) +
      " tombstones");
  if (stats.entries + stats.tombstones <= kShown) {
    std::map<std::string, std::string> held;
    for (std::uint32_t bucket = 0; bucket < kBuckets; bucket = cache.NextStored(bucket + 1)) {
      for (const EntryRef& entry : cache.Bucket(bucket)) {
        held[std::string(entry->key())] =
            entry->tombstone() ? " deleted" : "=" + Brief(entry->value());
      }
    }
    for (const auto& [key, value] : held) Say("  " + key + value);
  }
  for (const sync::PeerStatus& peer : world_.driver(pod).Peers()) {
    std::string line = "  peer " + peer.record.name + " " + std::string(ToString(peer.state));
    if (peer.behind_entries > 0) line += ", " + std::to_string(peer.behind_entries) + " behind";
    const bool refused = peer.state == sync::LinkState::kRefused;
    if (!peer.error.empty() && !refused) line += ": " + peer.error;
    Say(line);
  }
}

void Script::Compare() {
  const std::vector<int> pods = world_.Running();
  bool same = true;
  for (const int pod : pods) {
    same = same && world_.cache(pod).digest() == world_.cache(pods[0]).digest();
  }
  Say(same ? "all hold the same" : "they differ");
}

}  // namespace podmirror::scenario
