// The PodStore holds the judgement of each record of a store that numbers its changes (etcd, or the
// Kubernetes API). So when one key has changed, only that key is needed for a new peer set.
// Thread safety: none; belongs to the source's thread.
// Invariants: (1) at most kMaxRecords keys.
//             (2) only Replace takes a key back to an older revision.
//             (3) a record that cannot be read leaves the key as it was judged before, and is
//                 reported once per revision.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/peer.h"
#include "base/status.h"
#include "discovery/peer_rules.h"
#include "discovery/pod_record.h"

namespace podmirror::discovery {

// More pods than Kubernetes supports in a whole cluster.
inline constexpr std::size_t kMaxRecords = 200'000;

// One key as it was read: decoded, not yet applied.
struct ReadRecord {
  std::string key;
  std::int64_t revision = 0;
  Result<Judgement> judgement;
};

// What the records of one kind mean.
struct RecordRules {
  // Pure: decodes and judges a value. kInvalid with the reason when it cannot be read.
  std::function<Result<Judgement>(const std::string& key, std::string_view value)> judge;
  // Pure: the peer set that all judgements make together.
  std::function<PeerSet(const std::vector<const Judgement*>& judgements, std::string where)>
      make_set;
};

// Pod records, in any encoding.
RecordRules PodRecordRules(PeerRules rules);

// Pure: judges a pod that is decoded already. The error of one that could not be decoded stays.
ReadRecord ReadPod(const PeerRules& rules, std::string key, std::int64_t revision,
                   const Result<Pod>& pod);

class PodStore {
 public:
  using Unreadable = std::function<void(const std::string& key, const std::string& reason)>;

  PodStore(RecordRules rules, Unreadable unreadable)
      : rules_(std::move(rules)), unreadable_(std::move(unreadable)) {}
  PodStore(PeerRules rules, Unreadable unreadable)
      : PodStore(PodRecordRules(std::move(rules)), std::move(unreadable)) {}

  // Pure: decodes and judges a value.
  ReadRecord Read(std::string key, std::int64_t revision, std::string_view value) const;

  // A complete list: keys that are not in it are gone. kExhausted when it is too long; nothing has
  // changed then.
  Status Replace(std::vector<ReadRecord> records);

  // A change of one key. Does nothing unless it is newer than what is known of the key. kExhausted
  // when there are too many keys.
  Status Put(ReadRecord record);
  void Erase(const std::string& key, std::int64_t revision);
  // Erases every key that begins with `prefix`.
  void EraseBelow(const std::string& prefix, std::int64_t revision);

  PeerSet MakeSet(std::string where) const;
  // How many keys there are, those included whose records cannot be read.
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::int64_t revision = 0;
    std::int64_t reported_revision = 0;  // the newest one reported as unreadable; 0 = none
    std::optional<Judgement> judgement;  // none: never read
  };

  void Apply(ReadRecord record, Entry& entry);

  const RecordRules rules_;
  const Unreadable unreadable_;
  std::map<std::string, Entry> entries_;
};

}  // namespace podmirror::discovery
