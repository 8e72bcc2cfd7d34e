#include "rest/listing.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "rest/documents.h"
#include "rest/json_writer.h"

namespace podmirror::rest {
namespace {

constexpr std::size_t kPageBytes = 1024 * 1024;
// Entries looked at for one page, whether listed or not, so that no request takes long.
constexpr std::size_t kMaxLookedAt = 100'000;

struct Found {
  std::uint64_t key_hash;
  EntryRef entry;
};

class Page {
 public:
  Page(std::int32_t type, const ListQuery& query, const trust::Permissions& reader, WallMs now)
      : type_(type),
        query_(query),
        reader_(reader),
        may_read_all_(reader.AllowsAllOf(trust::Verb::kRead, type)),
        now_(now),
        json_(text_) {
    json_.BeginObject();
    json_.Key("entries");
    json_.BeginArray();
  }

  bool full() const { return listed_ >= query_.limit || text_.size() >= kPageBytes; }
  bool over() const { return full() || looked_at_ >= kMaxLookedAt; }

  // Lists the entries of `bucket` whose key hash is above `after`. When the page is full within the
  // bucket, returns the key hash of the last entry that was listed.
  std::optional<std::uint64_t> AddBucket(std::vector<EntryRef> bucket,
                                         std::optional<std::uint64_t> after) {
    // A visited bucket costs something even when it is empty.
    looked_at_ += bucket.size() + 1;
    std::vector<Found> found;
    for (EntryRef& entry : bucket) {
      if (!Wanted(*entry)) continue;
      const std::uint64_t hash = entry->key_hash();
      if (!after || hash > *after) found.push_back({hash, std::move(entry)});
    }
    std::sort(found.begin(), found.end(),
              [](const Found& a, const Found& b) { return a.key_hash < b.key_hash; });
    for (std::size_t i = 0; i < found.size(); ++i) {
      json_.BeginObject();
      if (query_.keys_only) {
        WriteKeyMembers(*found[i].entry, now_, json_);
      } else {
        WriteEntryMembers(*found[i].entry, now_, json_);
      }
      json_.EndObject();
      ++listed_;
      // The cursor is a hash: keys that share one stay on one page.
      const bool last = i + 1 == found.size();
      if (!last && full() && found[i + 1].key_hash != found[i].key_hash) return found[i].key_hash;
    }
    return std::nullopt;
  }

  std::string End(const std::optional<ListCursor>& next) {
    json_.EndArray();
    if (next) json_.Member("cursor", ToString(*next));
    json_.EndObject();
    return std::move(text_);
  }

 private:
  bool Wanted(const Entry& entry) const {
    return entry.type() == type_ && !entry.tombstone() && !entry.expired(now_) &&
           entry.key().starts_with(query_.prefix) &&
           (may_read_all_ || reader_.Allows(trust::Verb::kRead, type_, entry.key()));
  }

  const std::int32_t type_;
  const ListQuery& query_;
  const trust::Permissions& reader_;
  const bool may_read_all_;
  const WallMs now_;
  std::string text_;
  JsonWriter json_;
  std::size_t listed_ = 0;
  std::size_t looked_at_ = 0;
};

}  // namespace

std::string ListDocument(const Cache& cache, std::int32_t type, const ListQuery& query,
                         const trust::Permissions& reader, WallMs now) {
  Page page(type, query, reader, now);
  ListCursor at = query.cursor;
  while (at.bucket < kBuckets && !page.over()) {
    at.after_key_hash = page.AddBucket(cache.Bucket(at.bucket), at.after_key_hash);
    if (!at.after_key_hash) at.bucket = cache.NextStored(at.bucket + 1);
  }
  return page.End(at.bucket < kBuckets ? std::optional(at) : std::nullopt);
}

}  // namespace podmirror::rest
