#include "rpc/entries_call.h"

#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "rpc/requests.h"

namespace podmirror::rpc {
namespace {

// A message goes out when it has so many bytes or so many buckets have been read, so that neither
// memory nor the time on the bulk thread grows with the cache.
constexpr std::size_t kAnswerBytes = 1024 * 1024;
constexpr std::uint32_t kAnswerBuckets = 4096;
// Of an entry beside key and value: clients take messages of 4 MiB, unless they are told otherwise.
constexpr std::size_t kRestBytes = 64;

class EntriesCall final : public std::enable_shared_from_this<EntriesCall> {
 public:
  EntriesCall(std::shared_ptr<ServerCall> call, const v1::GetAllRequest& request,
              const Cache& cache, const Env& env, net::BulkThread& bulk)
      : call_(std::move(call)),
        types_(request.types().begin(), request.types().end()),
        prefix_(request.prefix()),
        keys_only_(request.keys_only()),
        reads_all_(call_->asker().may().AllowsAll(trust::Verb::kRead)),
        cache_(cache),
        env_(env),
        bulk_(bulk) {
    std::sort(types_.begin(), types_.end());
  }

  // Once, and after each answer that was written.
  void Continue() {
    bulk_.Post([self = shared_from_this()] {
      if (!self->MakeAnswer()) {
        self->call_->Finish(Status());
        return;
      }
      self->bytes_ = ToBytes(self->answer_);
      self->call_->Write(self->bytes_, [self](bool ok) {
        if (ok) {
          self->Continue();
        } else {
          self->call_->Finish({Code::kUnavailable, "cancelled"});
        }
      });
    });
  }

 private:
  // False when everything has been answered.
  bool MakeAnswer() {
    if (bucket_ == kBuckets && bucket_entries_.empty()) return false;
    answer_.Clear();
    const WallMs now = env_.now().wall;
    const std::uint32_t end = std::min(bucket_ + kAnswerBuckets, kBuckets);
    std::size_t bytes = 0;
    while (bytes < kAnswerBytes) {
      if (bucket_entries_.empty()) {
        if (bucket_ >= end) break;
        bucket_entries_ = cache_.Bucket(bucket_);
        bucket_ = cache_.NextStored(bucket_ + 1);
        continue;
      }
      const EntryRef entry = std::move(bucket_entries_.back());
      bucket_entries_.pop_back();
      if (!Wanted(*entry, now)) continue;
      bytes += entry->key().size() + kRestBytes;
      if (keys_only_) {
        PutEntryWithoutValue(*entry, now, answer_.add_entries());
        continue;
      }
      bytes += entry->value().size();
      PutEntry(*entry, now, answer_.add_entries());
    }
    return true;
  }

  bool Wanted(const Entry& entry, WallMs now) const {
    return !entry.tombstone() && !entry.expired(now) && entry.key().starts_with(prefix_) &&
           (types_.empty() || std::binary_search(types_.begin(), types_.end(), entry.type())) &&
           (reads_all_ ||
            call_->asker().may().Allows(trust::Verb::kRead, entry.type(), entry.key()));
  }

  const std::shared_ptr<ServerCall> call_;
  std::vector<std::int32_t> types_;  // sorted; empty = all
  const std::string prefix_;
  const bool keys_only_;
  const bool reads_all_;  // who asks may read everything
  const Cache& cache_;
  const Env& env_;
  net::BulkThread& bulk_;
  v1::GetAllResponse answer_;
  grpc::ByteBuffer bytes_;    // of the answer that is written
  std::uint32_t bucket_ = 0;  // the next one to read
  // Of the last bucket read, not answered yet.
  std::vector<EntryRef> bucket_entries_;
};

}  // namespace

void StreamEntries(std::shared_ptr<ServerCall> call, const v1::GetAllRequest& request,
                   const Cache& cache, const Env& env, net::BulkThread& bulk) {
  std::make_shared<EntriesCall>(std::move(call), request, cache, env, bulk)->Continue();
}

}  // namespace podmirror::rpc
