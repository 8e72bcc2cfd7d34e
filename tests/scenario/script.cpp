#include "scenario/script.h"

#include <charconv>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace podmirror::scenario {
namespace {

constexpr std::int32_t kType = 1;
constexpr std::size_t kShown = 10;  // entries

std::int64_t Number(std::string_view text) {
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) {
    throw std::runtime_error("not a number: " + std::string(text));
  }
  return value;
}

// "500ms" or "5s", in milliseconds.
std::int64_t Duration(std::string_view text) {
  if (text.ends_with("ms")) return Number(text.substr(0, text.size() - 2));
  if (text.ends_with("s")) return 1000 * Number(text.substr(0, text.size() - 1));
  throw std::runtime_error("not a duration: " + std::string(text));
}

sync::AckLevel Ack(std::string_view text) {
  using sync::AckLevel;
  for (const AckLevel level :
       {AckLevel::kLocal, AckLevel::kOne, AckLevel::kMajority, AckLevel::kAll}) {
    if (text == ToString(level)) return level;
  }
  throw std::runtime_error("not an acknowledgement: " + std::string(text));
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
  }
  return "unknown";
}

std::string ToText(const sync::WriteOutcome& outcome) {
  std::string text = outcome.met ? "200" : "202";
  text += ", acknowledged by " + std::to_string(outcome.acked) + " of " +
          std::to_string(outcome.peers) + " peers";
  for (std::size_t i = 0; i < outcome.pending.size(); ++i) {
    text += (i == 0 ? ", pending: " : " ") + outcome.pending[i];
  }
  return text;
}

}  // namespace

Script::Script()
    : world_([] {
        sim::SimOptions options;
        options.plain = true;
        return options;
      }()) {
  world_.watch.trace = [this](int pod, const std::string& text) { SayPod(pod, text); };
}

void Script::Say(const std::string& text) {
  std::string line = text;
  line.erase(line.find_last_not_of(' ') + 1);
  lines_.push_back(std::move(line));
}

void Script::SayPod(int pod, const std::string& text) {
  char when[32];
  std::snprintf(when, sizeof(when), "%7.3fs ", static_cast<double>(world_.now()) / 1000);
  Say(when + ("pod-" + std::to_string(pod)) + " " + text);
}

std::vector<std::string> Script::Do(std::string_view command) {
  std::istringstream stream{std::string(command)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  Dispatch(words);
  world_.RunUntil(world_.now());  // what follows without time passing
  return std::exchange(lines_, {});
}

void Script::Dispatch(const std::vector<std::string>& words) {
  const std::string& verb = words.at(0);
  const auto number = [&](std::size_t at) {
    if (at >= words.size()) throw std::runtime_error(verb + ": something is missing");
    return static_cast<int>(Number(words[at]));
  };
  const auto running = [&](std::size_t at) {
    const int pod = number(at);
    if (!world_.running(pod)) throw std::runtime_error(verb + ": that pod does not run");
    return pod;
  };
  if (verb == "start") {
    world_.StartPod(number(1));
  } else if (verb == "crash" || verb == "vanish") {
    world_.CrashPod(running(1), verb == "vanish");
  } else if (verb == "pause" || verb == "continue") {
    world_.PausePod(running(1), verb == "pause");
  } else if (verb == "unlist") {
    world_.DropRecord(number(1));
  } else if (verb == "cut" || verb == "mend") {
    world_.SetPartition(number(1), number(2), verb == "cut");
  } else if (verb == "put" || verb == "delete") {
    running(1);
    Write(words, verb == "delete");
  } else if (verb == "fill") {
    Fill(running(1), number(2), number(3));
  } else if (verb == "run") {
    world_.RunUntil(world_.now() + Duration(words.at(1)));
  } else if (verb == "show") {
    Show(running(1));
  } else if (verb == "compare") {
    Compare();
  } else {
    throw std::runtime_error("unknown command: " + verb);
  }
}

void Script::Write(const std::vector<std::string>& words, bool remove) {
  const int pod = static_cast<int>(Number(words[1]));
  const std::string& what = words.at(2);
  const std::size_t split = remove ? what.size() : what.find('=');
  if (split == std::string::npos) throw std::runtime_error("put: KEY=VALUE is missing");
  const std::string key = what.substr(0, split);
  const std::string value = remove ? "" : what.substr(split + 1);
  sync::WriteItem item;
  item.type = kType;
  item.key = key;
  item.value = value;
  item.remove = remove;
  sync::WriteOptions options;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const std::size_t is = words[i].find('=');
    const std::string name = words[i].substr(0, is);
    const std::string setting = is == std::string::npos ? "" : words[i].substr(is + 1);
    if (name == "ack") {
      options.ack = Ack(setting);
    } else if (name == "timeout") {
      options.timeout_ms = Duration(setting);
    } else if (name == "ttl" && !remove) {
      item.ttl_ms = Duration(setting);
    } else {
      throw std::runtime_error("unknown option: " + words[i]);
    }
  }
  const std::string head = (remove ? "delete " : "put ") + key + ": ";
  const auto done = [this, pod, head](const sync::WriteOutcome& outcome) {
    SayPod(pod, head + ToText(outcome));
  };
  const sync::WriteRefusal refusal = world_.driver(pod).Write({&item, 1}, options, done);
  if (refusal != sync::WriteRefusal::kNone) SayPod(pod, head + ToText(refusal));
}

void Script::Fill(int pod, int entries, int bytes) {
  const std::string value(static_cast<std::size_t>(bytes), 'v');
  for (int i = 0; i < entries; ++i) {
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
    for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      for (const EntryRef& entry : cache.Bucket(bucket)) {
        held[std::string(entry->key())] =
            entry->tombstone() ? " deleted" : "=" + std::string(entry->value());
      }
    }
    for (const auto& [key, value] : held) Say("  " + key + value);
  }
  for (const sync::PeerStatus& peer : world_.driver(pod).Peers()) {
    std::string line = "  peer " + peer.record.name + " " + std::string(ToString(peer.state));
    if (peer.behind_entries > 0) line += ", " + std::to_string(peer.behind_entries) + " behind";
    if (!peer.error.empty()) line += ": " + peer.error;
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
