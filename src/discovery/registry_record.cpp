#include "discovery/registry_record.h"

#include <absl/container/flat_hash_set.h>
#include <absl/strings/ascii.h>
#include <absl/time/time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "discovery/bounded_json.h"
#include "discovery/pod_record.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTextBytes = 253;
constexpr std::size_t kMaxValueBytes = 64u << 10;  // other programs may add what they like

// Empty where the member is absent or null.
Result<std::string> Text(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return Invalid(std::string(name) + " is not a string");
  const auto& text = found->get_ref<const std::string&>();
  const bool plain =
      text.size() <= kMaxTextBytes &&
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!plain) return Invalid(std::string(name) + " is not plain text");
  return text;
}

Result<net::HostPort> Address(std::string_view text) {
  Result<net::HostPort> address = net::ParseHostPort(text);
  if (address.ok() && !address->is_ip) return Invalid("the host is not an IP address");
  return address;
}

Result<net::HostPort> AddressOfKey(const std::string& key) {
  Result<net::HostPort> address = Address(std::string_view(key).substr(key.rfind('/') + 1));
  if (!address.ok()) return Invalid("neither its value nor its key is an address, ip:port");
  return address;
}

Result<RegistryRecord> DecodeJson(const std::string& key, const json& object) {
  const Result<std::string> name = Text(object, "name");
  const Result<std::string> uid = Text(object, "uid");
  const Result<std::string> address = Text(object, "address");
  const Result<std::string> started = Text(object, "started_at");
  for (const auto* text : {&name, &uid, &address, &started}) {
    if (!text->ok()) return text->status();
  }
  const auto ready = object.find("ready");
  if (ready != object.end() && !ready->is_boolean()) return Invalid("ready is not true or false");
  const Result<net::HostPort> host_port = address->empty() ? AddressOfKey(key) : Address(*address);
  if (!host_port.ok()) return Invalid("address: " + host_port.status().message());
  const std::optional<WallMs> started_at = started->empty() ? 0 : ParseTime(*started);
  if (!started_at) return Invalid("started_at is not a time");
  return RegistryRecord{.name = name->empty() ? host_port->ToString() : *name,
                        .uid = *uid,
                        .address = *host_port,
                        .ready = ready != object.end() && ready->get<bool>(),
                        .started_at_ms = *started_at};
}

PodRecord PeerOf(const RegistryRecord& record) {
  PodRecord peer;
  peer.uid = record.uid;
  peer.name = record.name;
  peer.ip = record.address.host;
  peer.port = record.address.port;
  peer.ready = record.ready;
  peer.started_at_ms = record.started_at_ms;
  return peer;
}

Judgement Judge(const RegistryRecord& record, const RegistryRecord& self) {
  const bool ours = record.address.ToString() == self.address.ToString();
  if (record.uid == self.uid) {
    if (!ours) return {};  // of an earlier run, at another address
    return {.verdict = Verdict::kSelf, .record = PeerOf(record)};
  }
  if (ours) return {};
  return {.verdict = Verdict::kPeer, .record = PeerOf(record)};
}

PeerSet MakeSet(const std::vector<const Judgement*>& judgements, std::string where) {
  PeerSet set;
  set.where = std::move(where);
  std::vector<const PodRecord*> peers;
  for (const Judgement* judgement : judgements) {
    if (judgement->verdict == Verdict::kPeer) peers.push_back(&judgement->record);
    if (judgement->verdict != Verdict::kSelf) continue;
    set.self_listed = true;
    set.self_started_at_ms = judgement->record.started_at_ms;
  }
  // Of several entries with the same UID or address only the one that was started last counts, and
  // an entry with a UID goes before one without.
  std::sort(peers.begin(), peers.end(), [](const PodRecord* a, const PodRecord* b) {
    return std::tie(a->started_at_ms, a->uid, a->ip, a->port) >
           std::tie(b->started_at_ms, b->uid, b->ip, b->port);
  });
  absl::flat_hash_set<std::pair<std::string, std::uint16_t>> addresses;
  absl::flat_hash_set<std::string> ids;
  for (const PodRecord* peer : peers) {
    if (addresses.contains(std::pair(peer->ip, peer->port)) || !ids.insert(peer->id()).second) {
      continue;
    }
    addresses.emplace(peer->ip, peer->port);
    set.peers.push_back(*peer);
  }
  std::sort(set.peers.begin(), set.peers.end(), OlderThan);
  return set;
}

}  // namespace

std::string EncodeRegistryRecord(const RegistryRecord& record) {
  const json value = {{"name", record.name},
                      {"uid", record.uid},
                      {"address", record.address.ToString()},
                      {"started_at", absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ",
                                                      absl::FromUnixMillis(record.started_at_ms),
                                                      absl::UTCTimeZone())},
                      {"ready", record.ready}};
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<RegistryRecord> DecodeRegistryRecord(const std::string& key, std::string_view value) {
  if (value.size() > kMaxValueBytes) return Invalid("longer than 64 KiB");
  const absl::string_view text =
      absl::StripAsciiWhitespace(absl::string_view(value.data(), value.size()));
  if (!text.empty() && text.front() == '{') {
    const json object = ParseBoundedJson(value);
    if (!object.is_object()) return Invalid("not JSON");
    return DecodeJson(key, object);
  }
  Result<net::HostPort> address = Address(std::string_view(text.data(), text.size()));
  if (!address.ok()) address = AddressOfKey(key);
  if (!address.ok()) return address.status();
  RegistryRecord record;
  record.name = address->ToString();
  record.address = std::move(*address);
  return record;
}

RecordRules RegistryRules(const RegistryRecord& self) {
  return {.judge = [self](const std::string& key, std::string_view value) -> Result<Judgement> {
            const Result<RegistryRecord> record = DecodeRegistryRecord(key, value);
            if (!record.ok()) return record.status();
            return Judge(*record, self);
          },
          .make_set = MakeSet};
}

RecordRules RegistryRulesOfClient() {
  return {.judge = [](const std::string& key, std::string_view value) -> Result<Judgement> {
            const Result<RegistryRecord> record = DecodeRegistryRecord(key, value);
            if (!record.ok()) return record.status();
            return Judgement{.verdict = Verdict::kPeer, .record = PeerOf(*record)};
          },
          .make_set =
              [](const std::vector<const Judgement*>& judgements, std::string where) {
                PeerSet set = MakeSet(judgements, std::move(where));
                set.self_listed = true;
                return set;
              }};
}

}  // namespace podmirror::discovery
