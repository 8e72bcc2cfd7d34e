#include "discovery/pod_store.h"

#include <memory>
#include <utility>

namespace podmirror::discovery {
namespace {

Status TooMany() {
  return Status(Code::kExhausted, "more than " + std::to_string(kMaxRecords) + " pod records");
}

Result<Judgement> Judge(const PeerRules& rules, const Result<Pod>& pod) {
  if (!pod.ok()) return pod.status();
  return rules.Judge(*pod);
}

}  // namespace

RecordRules PodRecordRules(PeerRules rules) {
  const auto shared = std::make_shared<const PeerRules>(std::move(rules));
  return {.judge = [shared](const std::string&, std::string_view value) -> Result<Judgement> {
            return Judge(*shared, DecodePod(value));
          },
          .make_set =
              [shared](const std::vector<const Judgement*>& judgements, std::string where) {
                return shared->MakeSet(judgements, std::move(where));
              }};
}

ReadRecord ReadPod(const PeerRules& rules, std::string key, std::int64_t revision,
                   const Result<Pod>& pod) {
  return {.key = std::move(key), .revision = revision, .judgement = Judge(rules, pod)};
}

ReadRecord PodStore::Read(std::string key, std::int64_t revision, std::string_view value) const {
  Result<Judgement> judgement = rules_.judge(key, value);
  return {.key = std::move(key), .revision = revision, .judgement = std::move(judgement)};
}

void PodStore::Apply(ReadRecord record, Entry& entry) {
  entry.revision = record.revision;
  if (record.judgement.ok()) {
    entry.judgement = std::move(*record.judgement);
  } else if (entry.reported_revision != record.revision) {
    entry.reported_revision = record.revision;
    unreadable_(record.key, record.judgement.status().message());
  }
}

Status PodStore::Replace(std::vector<ReadRecord> records) {
  if (records.size() > kMaxRecords) return TooMany();
  std::map<std::string, Entry> entries;
  for (ReadRecord& record : records) {
    Entry& entry = entries[record.key];
    if (const auto known = entries_.find(record.key); known != entries_.end()) {
      entry = std::move(known->second);
    }
    Apply(std::move(record), entry);
  }
  entries_ = std::move(entries);
  return Status();
}

Status PodStore::Put(ReadRecord record) {
  if (entries_.size() >= kMaxRecords && !entries_.contains(record.key)) return TooMany();
  Entry& entry = entries_[record.key];
  if (record.revision > entry.revision) Apply(std::move(record), entry);
  return Status();
}

void PodStore::Erase(const std::string& key, std::int64_t revision) {
  const auto known = entries_.find(key);
  if (known != entries_.end() && revision > known->second.revision) entries_.erase(known);
}

void PodStore::EraseBelow(const std::string& prefix, std::int64_t revision) {
  auto at = entries_.lower_bound(prefix);
  while (at != entries_.end() && at->first.starts_with(prefix)) {
    at = revision > at->second.revision ? entries_.erase(at) : std::next(at);
  }
}

PeerSet PodStore::MakeSet(std::string where) const {
  std::vector<const Judgement*> judgements;
  judgements.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) {
    if (entry.judgement) judgements.push_back(&*entry.judgement);
  }
  return rules_.make_set(judgements, std::move(where));
}

}  // namespace podmirror::discovery
