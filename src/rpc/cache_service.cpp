#include "rpc/cache_service.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "podmirror/v1/cache.pb.h"

namespace podmirror::rpc {
namespace {

// A streamed answer goes out when it has so many bytes or so many buckets have been read, so that
// neither memory nor the time on the bulk thread grows with the cache.
constexpr std::size_t kAnswerBytes = 1024 * 1024;
constexpr std::uint32_t kAnswerBuckets = 4096;

// Begins a write, if it is allowed, that is answered by what `answer` makes of its outcome.
template <typename Answer>
void Write(sync::Driver& driver, const trust::Access& access,
           const std::vector<sync::WriteItem>& items, const sync::WriteOptions& options,
           const std::shared_ptr<UnaryCall>& call, Answer answer) {
  if (const Status status = access.PermitWrite(call->asker(), items); !status.ok()) {
    call->Fail(status);
    return;
  }
  const auto audited = access.Audited(call->asker(), items);
  const sync::WriteRefusal refusal =
      driver.Write(items, options, [call, answer, audited](const sync::WriteOutcome& outcome) {
        if (audited) audited->TellOutcome(outcome);
        if (const Status status = OutcomeStatus(outcome); !status.ok()) {
          call->Fail(status);
          return;
        }
        call->Answer(answer(outcome));
      });
  if (refusal == sync::WriteRefusal::kNone) return;
  if (audited) audited->Tell("failed");
  call->Fail(RefusalStatus(refusal));
}

// Streams the entries bucket by bucket: the next answer is made when the last has been written.
class GetAllCall final : public std::enable_shared_from_this<GetAllCall> {
 public:
  GetAllCall(std::shared_ptr<ServerCall> call, const v1::GetAllRequest& request, const Cache& cache,
             const Env& env, net::BulkThread& bulk)
      : call_(std::move(call)),
        types_(request.types().begin(), request.types().end()),
        prefix_(request.prefix()),
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
      bytes += entry->key().size() + entry->value().size();
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

class CacheService final : public Service {
 public:
  CacheService(const RequestOptions& options, sync::Driver& driver, const Cache& cache,
               const Env& env, net::BulkThread& bulk, const trust::Access& access)
      : options_(options),
        driver_(driver),
        cache_(cache),
        env_(env),
        bulk_(bulk),
        access_(access) {}

  void AddTo(Methods& methods) override {
    methods.emplace(
        "/podmirror.v1.Cache/Get",
        UnaryHandler(bulk_, [this](const std::shared_ptr<UnaryCall>& call) { Get(call); }));
    methods.emplace(
        "/podmirror.v1.Cache/Set",
        UnaryHandler(bulk_, [this](const std::shared_ptr<UnaryCall>& call) { Set(call); }));
    methods.emplace(
        "/podmirror.v1.Cache/Delete",
        UnaryHandler(bulk_, [this](const std::shared_ptr<UnaryCall>& call) { Delete(call); }));
    methods.emplace(
        "/podmirror.v1.Cache/GetAll",
        RequestHandler(bulk_, [this](const std::shared_ptr<ServerCall>& call,
                                     grpc::ByteBuffer& request) { GetAll(call, request); }));
  }

 private:
  void Get(const std::shared_ptr<UnaryCall>& call) {
    v1::GetRequest request;
    Status status = FromBytes(call->request(), &request);
    if (status.ok()) status = Check(request, options_);
    for (int i = 0; status.ok() && i < request.keys_size(); ++i) {
      status = access_.Permit(call->asker(),
                              {trust::Verb::kRead, request.keys(i).type(), request.keys(i).key()});
    }
    if (status.ok()) status = CheckReadable(driver_);
    if (!status.ok()) {
      call->Fail(status);
      return;
    }
    const WallMs now = env_.now().wall;
    std::vector<EntryRef> entries;
    std::size_t bytes = 0;
    for (const v1::Key& key : request.keys()) {
      EntryRef entry = cache_.Find(key.type(), key.key(), now);
      if (!entry) continue;
      bytes += entry->packed_size() + sizeof(v1::Entry);
      entries.push_back(std::move(entry));
    }
    if (bytes > sync::kMaxMessageBytes) {
      call->Fail({Code::kExhausted, "answer over 64 MiB: ask for fewer keys"});
    } else if (bytes < net::kBulkBytes) {
      AnswerGet(*call, entries, now);
    } else {
      bulk_.Post(
          [this, call, entries = std::move(entries), now] { AnswerGet(*call, entries, now); });
    }
  }

  void AnswerGet(UnaryCall& call, const std::vector<EntryRef>& entries, WallMs now) {
    v1::GetResponse response;
    for (const EntryRef& entry : entries) PutEntry(*entry, now, response.add_entries());
    call.AnswerRead(response, answers_);
  }

  void Set(const std::shared_ptr<UnaryCall>& call) {
    // The size is checked before the request is copied.
    if (const Status status = CheckSize(call->request().Length(), 0, options_); !status.ok()) {
      call->Fail(status);
      return;
    }
    grpc::Slice bytes;
    if (!call->request().DumpToSingleSlice(&bytes).ok()) {
      call->Fail({Code::kInternal, "no request"});
      return;
    }
    call->request().Clear();  // the call may wait for long
    const auto set =
        ReadSet({reinterpret_cast<const char*>(bytes.begin()), bytes.size()}, options_);
    if (!set.ok()) {
      call->Fail(set.status());
      return;
    }
    const auto options =
        WriteOptionsOf(set->options, options_.write, set->condition, set->items.size());
    if (!options.ok()) {
      call->Fail(options.status());
      return;
    }
    const auto count = static_cast<std::uint32_t>(set->items.size());
    Write(driver_, access_, set->items, *options, call, [count](const sync::WriteOutcome& outcome) {
      v1::SetResponse response;
      response.set_set(count);
      response.set_version(outcome.version.ToString());
      PutOutcome(outcome, response.mutable_ack());
      return response;
    });
  }

  void Delete(const std::shared_ptr<UnaryCall>& call) {
    v1::DeleteRequest request;
    if (const Status status = FromBytes(call->request(), &request); !status.ok()) {
      call->Fail(status);
      return;
    }
    const auto items = ItemsOf(request, options_);
    if (!items.ok()) {
      call->Fail(items.status());
      return;
    }
    const auto options =
        WriteOptionsOf(request.options(), options_.write, ConditionOf(request), items->size());
    if (!options.ok()) {
      call->Fail(options.status());
      return;
    }
    const auto count = static_cast<std::uint32_t>(items->size());
    Write(driver_, access_, *items, *options, call, [count](const sync::WriteOutcome& outcome) {
      v1::DeleteResponse response;
      response.set_deleted(count);
      response.set_version(outcome.version.ToString());
      PutOutcome(outcome, response.mutable_ack());
      return response;
    });
  }

  void GetAll(const std::shared_ptr<ServerCall>& call, grpc::ByteBuffer& bytes) {
    v1::GetAllRequest request;
    Status status = FromBytes(bytes, &request);
    if (status.ok() && request.types().empty()) {
      status = access_.Permit(call->asker(), {trust::Verb::kRead});
    }
    for (int i = 0; status.ok() && i < request.types_size(); ++i) {
      status = access_.Permit(call->asker(), {trust::Verb::kRead, request.types(i)});
    }
    if (status.ok()) status = CheckReadable(driver_);
    if (!status.ok()) {
      call->Finish(status);
      return;
    }
    std::make_shared<GetAllCall>(call, request, cache_, env_, bulk_)->Continue();
  }

  const RequestOptions options_;
  sync::Driver& driver_;
  const podmirror::Cache& cache_;
  const Env& env_;
  net::BulkThread& bulk_;
  const trust::Access& access_;
  ByteBudget answers_{sync::kMaxMessageBytes};  // answers of Get that are made and not sent yet
};

}  // namespace

std::unique_ptr<Service> NewCacheService(const RequestOptions& options, sync::Driver& driver,
                                         const Cache& cache, const Env& env, net::BulkThread& bulk,
                                         const trust::Access& access) {
  return std::make_unique<CacheService>(options, driver, cache, env, bulk, access);
}

}  // namespace podmirror::rpc
