#include "rest/documents.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace podmirror::rest {
namespace {

std::string Hex16(std::uint64_t number) {
  return absl::StrCat(absl::Hex(number, absl::kZeroPad16));
}

void WriteAck(const sync::WriteOutcome& outcome, JsonWriter& json) {
  json.Key("ack");
  json.BeginObject();
  json.Member("required", sync::ToString(outcome.required));
  json.Member("peers", outcome.peers);
  json.Member("acked", outcome.acked);
  json.Key("pending");
  json.BeginArray();
  for (const std::string& name : outcome.pending) json.Value(name);
  json.EndArray();
  json.EndObject();
}

std::string Address(const PodRecord& record) {
  const bool v6 = record.ip.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", record.ip, v6 ? "]:" : ":", record.port);
}

// A text, or null where empty stands for unknown.
void WriteKnown(std::string_view name, std::string_view text, JsonWriter& json) {
  json.Key(name);
  if (text.empty()) {
    json.Null();
  } else {
    json.Value(text);
  }
}

void WritePeer(const sync::PeerStatus& peer, JsonWriter& json) {
  const PodRecord& record = peer.record;
  json.BeginObject();
  json.Member("name", record.name);
  json.Member("uid", record.uid);
  json.Member("ip", record.ip);
  json.Member("address", Address(record));
  WriteKnown(
      "started_at",
      record.started_at_ms == 0
          ? std::string()
          : absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixMillis(record.started_at_ms),
                             absl::UTCTimeZone()),
      json);
  json.Member("phase", record.phase);
  json.Member("ready", record.ready);
  json.Member("state", sync::ToString(peer.state));
  json.Member("protocol", peer.legacy ? "hellorpc" : "podmirror.v1");
  json.Member("acked_seq", peer.acked_seq);
  json.Member("behind_entries", peer.behind_entries);
  json.Member("behind_bytes", peer.behind_bytes);
  json.Key("last_ack_ms_ago");
  if (peer.last_ack_ms_ago < 0) {
    json.Null();
  } else {
    json.Value(peer.last_ack_ms_ago);
  }
  json.Member("error", peer.error);
  json.EndObject();
}

void WriteCertificate(std::string_view use, const trust::CertificateChain& certificate,
                      const trust::Keyring::State& state, JsonWriter& json) {
  json.BeginObject();
  json.Member("use", use);
  json.Member("subject", certificate.subject());
  json.Key("sans");
  json.BeginArray();
  const trust::Names names = certificate.names();
  for (const std::string& uri : names.uris) json.Value("URI:" + uri);
  for (const std::string& dns : names.dns) json.Value("DNS:" + dns);
  json.EndArray();
  json.Member("not_before", trust::ToUtcText(certificate.not_before()));
  json.Member("not_after", trust::ToUtcText(certificate.not_after()));
  json.Member("loaded_at", trust::ToUtcText(state.loaded_at));
  json.Member("error", state.error);
  json.EndObject();
}

void WriteDiscovery(const DiscoveryView& discovery, JsonWriter& json) {
  json.Key("discovery");
  json.BeginObject();
  json.Member("source", discovery.source);
  json.Member("healthy", discovery.healthy);
  json.Member("peers", discovery.peers);
  json.Member("revision", discovery.revision);
  json.Member("age_ms", discovery.age_ms);
  json.Member("error", discovery.error);
  json.EndObject();
}

void WriteVersionAndTtl(const Entry& entry, WallMs now, JsonWriter& json) {
  json.Member("version", entry.version().ToString());
  json.Key("ttl_ms");
  if (entry.expires_at() == 0) {
    json.Null();
  } else {
    json.Value(std::max<std::int64_t>(1, entry.expires_at() - now));
  }
}

}  // namespace

void WriteEntryMembers(const Entry& entry, WallMs now, JsonWriter& json) {
  json.Member("key", entry.key());
  if (IsUtf8(entry.value())) {
    json.Member("value", entry.value());
  } else {
    std::string encoded;
    absl::Base64Escape(absl::string_view(entry.value().data(), entry.value().size()), &encoded);
    json.Member("value_base64", encoded);
  }
  WriteVersionAndTtl(entry, now, json);
}

void WriteKeyMembers(const Entry& entry, WallMs now, JsonWriter& json) {
  json.Member("key", entry.key());
  WriteVersionAndTtl(entry, now, json);
}

std::string EntryDocument(const Entry& entry, WallMs now) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Member("type", entry.type());
  WriteEntryMembers(entry, now, json);
  json.EndObject();
  return text;
}

std::string TlsDocument(const trust::Keyring* keyring) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Key("certificates");
  json.BeginArray();
  if (keyring != nullptr) {
    const auto current = keyring->current();
    const trust::Keyring::State state = keyring->state();
    std::string_view use = "own";
    for (const auto& certificate : current->own().each()) {
      WriteCertificate(use, certificate, state, json);
      use = "chain";
    }
    if (current->authorities()) {
      for (const auto& certificate : current->authorities()->each()) {
        WriteCertificate("authority", certificate, state, json);
      }
    }
  }
  json.EndArray();
  json.EndObject();
  return text;
}

std::string WhoamiDocument(const trust::Subject& subject) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Member("subject", subject.name);
  json.Key("roles");
  json.BeginArray();
  for (const std::string& role : subject.roles) json.Value(role);
  json.EndArray();
  json.Key("allow");
  json.BeginArray();
  for (const trust::Grant& grant : subject.permissions.grants()) {
    json.BeginObject();
    json.Key("verbs");
    json.BeginArray();
    for (const trust::Verb verb : trust::kVerbs) {
      if (grant.verbs.Has(verb)) json.Value(trust::ToString(verb));
    }
    json.EndArray();
    if (!grant.types.empty()) {
      json.Key("types");
      json.BeginArray();
      for (const std::int32_t type : grant.types) json.Value(type);
      json.EndArray();
    }
    if (!grant.prefix.empty()) json.Member("prefix", grant.prefix);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return text;
}

std::string TypesDocument(const std::map<std::int32_t, TypeStats>& types) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Key("types");
  json.BeginArray();
  for (const auto& [type, stats] : types) {
    json.BeginObject();
    json.Member("type", type);
    json.Member("entries", stats.entries);
    json.Member("bytes", stats.bytes);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return text;
}

std::string WriteDocument(std::int32_t type, std::string_view key,
                          const sync::WriteOutcome& outcome) {
  std::string text;
  text.reserve(160 + key.size());
  JsonWriter json(text);
  json.BeginObject();
  json.Member("type", type);
  json.Member("key", key);
  json.Member("version", outcome.version.ToString());
  WriteAck(outcome, json);
  json.EndObject();
  return text;
}

std::string BatchDocument(const BatchCounts& counts, const sync::WriteOutcome& outcome) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Member("set", counts.sets);
  json.Member("deleted", counts.deletes);
  if (counts.touches) {
    json.Member("touched", *counts.touches - outcome.absent.size());
    json.Member("missing", outcome.absent.size());
  }
  WriteAck(outcome, json);
  json.EndObject();
  return text;
}

std::string PeersDocument(const std::vector<sync::PeerStatus>& peers) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Key("peers");
  json.BeginArray();
  for (const sync::PeerStatus& peer : peers) WritePeer(peer, json);
  json.EndArray();
  json.EndObject();
  return text;
}

std::string StatusDocument(const StatusInput& input) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Member("name", input.options.name);
  json.Member("namespace", input.options.ns);
  json.Member("uid", input.options.uid);
  json.Member("incarnation", Hex16(input.node.incarnation));
  json.Member("cluster", input.options.cluster);
  json.Member("version", input.options.version);
  json.Member("state", sync::ToString(input.node.state));
  json.Member("ready", input.node.ready);
  json.Member("reason", input.node.reason);
  json.Member("entries", input.cache.entries);
  json.Member("tombstones", input.cache.tombstones);
  json.Member("bytes", input.cache.bytes);
  json.Member("digest", Hex16(input.digest));
  json.Member("uptime_ms", input.uptime_ms);
  WriteDiscovery(input.discovery, json);
  const sync::BootstrapReport& bootstrap = input.node.bootstrap;
  json.Key("bootstrap");
  json.BeginObject();
  WriteKnown("donor", bootstrap.donor, json);
  json.Member("entries", bootstrap.entries);
  json.Member("bytes", bootstrap.bytes);
  json.Member("ms", bootstrap.ms);
  json.EndObject();
  json.EndObject();
  return text;
}

}  // namespace podmirror::rest
