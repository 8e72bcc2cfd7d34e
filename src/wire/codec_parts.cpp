#include "wire/codec_parts.h"

#include <utility>

namespace podmirror::wire {

std::string Cut(const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

Status CheckText(const std::string& text, std::size_t limit, std::string_view what) {
  if (text.size() <= limit) return {};
  return Invalid(std::string(what) + " of " + std::to_string(text.size()) + " bytes");
}

std::string Pack(const std::vector<EntryRef>& entries) {
  std::size_t size = 0;
  for (const EntryRef& entry : entries) size += entry->packed_size();
  std::string packed(size, '\0');
  char* to = packed.data();
  for (const EntryRef& entry : entries) to = entry->PackTo(to);
  return packed;
}

Status Unpack(std::string_view packed, std::vector<EntryRef>* entries) {
  while (!packed.empty()) {
    EntryRef entry = Entry::Unpack(packed);
    if (!entry) return Invalid("entry " + std::to_string(entries->size()) + " is malformed");
    entries->push_back(std::move(entry));
  }
  return {};
}

// Both enums have the same numbers. A reason that a later version added is still a refusal.
static_assert(v1::Refusal_MAX == static_cast<int>(sync::RefusalReason::kUntrusted));

v1::Refusal ToWire(sync::RefusalReason reason) { return static_cast<v1::Refusal>(reason); }

sync::RefusalReason FromWire(v1::Refusal reason) {
  return v1::Refusal_IsValid(reason) ? static_cast<sync::RefusalReason>(reason)
                                     : sync::RefusalReason::kProtocol;
}

void PutIntroduction(const sync::Introduction& from, v1::Introduction* to) {
  to->set_name(Cut(from.name, kMaxNameBytes));
  to->set_uid(Cut(from.uid, kMaxNameBytes));
  to->set_cluster(Cut(from.cluster, kMaxClusterBytes));
  to->set_protocol(from.protocol);
  to->set_features(from.features);
  to->set_incarnation(from.incarnation);
  to->set_process_started_ms(from.process_started_ms);
  to->set_synced(from.synced);
  to->set_entries(from.entries);
  to->set_hlc(from.hlc);
  to->set_purge_floor(from.purge_floor);
  to->set_wall_ms(from.wall);
  to->mutable_limits()->set_max_frame_bytes(sync::kMaxMessageBytes);
  to->mutable_limits()->set_max_listed(sync::kMaxListed);
}

Status TakeIntroduction(const v1::Introduction& from, sync::Introduction* to) {
  if (Status status = CheckText(from.name(), kMaxNameBytes, "name"); !status.ok()) return status;
  if (Status status = CheckText(from.uid(), kMaxNameBytes, "uid"); !status.ok()) return status;
  if (Status status = CheckText(from.cluster(), kMaxClusterBytes, "cluster"); !status.ok()) {
    return status;
  }
  if (from.incarnation() == 0) return Invalid("incarnation 0");
  if (from.wall_ms() < 0) return Invalid("a clock before 1970");
  // A peer that takes less than we may send would end the stream at our first large message.
  const v1::Limits& limits = from.limits();
  if ((limits.max_frame_bytes() != 0 && limits.max_frame_bytes() < sync::kMaxMessageBytes) ||
      (limits.max_listed() != 0 && limits.max_listed() < sync::kMaxListed)) {
    return Invalid("limits below those of the protocol");
  }
  to->name = from.name();
  to->uid = from.uid();
  to->cluster = from.cluster();
  to->protocol = from.protocol();
  to->features = from.features();
  to->incarnation = from.incarnation();
  to->process_started_ms = from.process_started_ms();
  to->synced = from.synced();
  to->entries = from.entries();
  to->hlc = from.hlc();
  to->purge_floor = from.purge_floor();
  to->wall = from.wall_ms();
  return {};
}

}  // namespace podmirror::wire
