#include "rpc/cache_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "net/grpc_status.h"
#include "podmirror/v1/cache.grpc.pb.h"
#include "rpc/finish.h"

namespace podmirror::rpc {
namespace {

// A streamed answer goes out when it has so many bytes or so many buckets have been read, so that
// neither memory nor the time on gRPC's thread grows with the cache.
constexpr std::size_t kAnswerBytes = 1024 * 1024;
constexpr std::uint32_t kAnswerBuckets = 4096;

void PutEntry(const Entry& entry, WallMs now, v1::Entry* to) {
  to->set_type(entry.type());
  to->set_key(std::string(entry.key()));
  to->set_value(std::string(entry.value()));
  to->set_version(entry.version().ToString());
  if (entry.expires_at() != 0) {
    to->set_ttl_ms(std::max<std::int64_t>(1, entry.expires_at() - now));
  }
}

// The call of a write whose outcome is awaited. It owns itself until OnDone; the driver's WriteDone
// owns it too. Either the outcome or the client's cancellation finishes the call: the one that
// comes first.
class WriteCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<WriteCall> {
 public:
  static std::shared_ptr<WriteCall> New() {
    auto call = std::make_shared<WriteCall>();
    call->self_ = call;
    return call;
  }

  // True for one caller only, who then may use the response and must call Finish.
  bool Claim() { return !claimed_.exchange(true); }

  void OnCancel() override {
    if (Claim()) Finish({grpc::StatusCode::CANCELLED, "cancelled"});
  }
  void OnDone() override { self_.reset(); }

 private:
  std::shared_ptr<WriteCall> self_;
  std::atomic<bool> claimed_{false};
};

// fill: puts the outcome into the response, which is valid until the call is finished.
grpc::ServerUnaryReactor* Write(sync::Driver& driver, const std::vector<sync::WriteItem>& items,
                                const sync::WriteOptions& options,
                                std::function<void(const sync::WriteOutcome&)> fill) {
  const std::shared_ptr<WriteCall> call = WriteCall::New();
  const sync::WriteRefusal refusal = driver.Write(
      items, options, [call, fill = std::move(fill)](const sync::WriteOutcome& outcome) {
        if (!call->Claim()) return;
        fill(outcome);
        call->Finish(grpc::Status::OK);
      });
  if (refusal != sync::WriteRefusal::kNone && call->Claim()) {
    call->Finish(net::ToGrpc(RefusalStatus(refusal)));
  }
  return call.get();  // alive until OnDone, which comes after this was handed to gRPC
}

// Streams the entries bucket by bucket: the next answer is made when the last has been written.
class GetAllCall final : public grpc::ServerWriteReactor<v1::GetAllResponse> {
 public:
  GetAllCall(const v1::GetAllRequest& request, const Cache& cache, const Env& env)
      : types_(request.types().begin(), request.types().end()),
        prefix_(request.prefix()),
        cache_(cache),
        env_(env) {
    std::sort(types_.begin(), types_.end());
    Continue();
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      Continue();
    } else {
      Finish({grpc::StatusCode::CANCELLED, "cancelled"});
    }
  }
  void OnDone() override { delete this; }

 private:
  void Continue() {
    if (MakeAnswer()) {
      StartWrite(&answer_);
    } else {
      Finish(grpc::Status::OK);
    }
  }

  // False when everything has been answered.
  bool MakeAnswer() {
    absl::MutexLock lock(&mu_);
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
           (types_.empty() || std::binary_search(types_.begin(), types_.end(), entry.type()));
  }

  std::vector<std::int32_t> types_;  // sorted; empty = all
  const std::string prefix_;
  const Cache& cache_;
  const Env& env_;
  v1::GetAllResponse answer_;  // untouched while it is written
  // Reactions come one after the other, but on any thread.
  absl::Mutex mu_;
  std::uint32_t bucket_ ABSL_GUARDED_BY(mu_) = 0;  // the next one to read
  // Of the last bucket read, not answered yet.
  std::vector<EntryRef> bucket_entries_ ABSL_GUARDED_BY(mu_);
};

class RefusedGetAll final : public grpc::ServerWriteReactor<v1::GetAllResponse> {
 public:
  explicit RefusedGetAll(const Status& status) { Finish(net::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

// The bytes of an answer, as a raw method sends them.
void PutBytes(const google::protobuf::MessageLite& message, grpc::ByteBuffer* to) {
  const grpc::Slice slice(message.SerializeAsString());
  *to = grpc::ByteBuffer(&slice, 1);
}

// Only Set is a raw method, which gets its request as bytes: see ReadSet.
using CacheMethods = v1::Cache::WithCallbackMethod_Get<
    v1::Cache::WithRawCallbackMethod_Set<v1::Cache::WithCallbackMethod_Delete<
        v1::Cache::WithCallbackMethod_GetAll<v1::Cache::Service>>>>;

class CacheService final : public CacheMethods {
 public:
  CacheService(const RequestOptions& options, sync::Driver& driver, const podmirror::Cache& cache,
               const Env& env)
      : options_(options), driver_(driver), cache_(cache), env_(env) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* response) override {
    return FinishRead(context, Read(*request, response), response, answers_);
  }

  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer* request,
                                grpc::ByteBuffer* response) override {
    // The size is checked before the request is copied.
    if (const Status status = CheckSize(request->Length(), 0, options_); !status.ok()) {
      return FinishNow(context, status);
    }
    grpc::Slice bytes;
    if (!request->DumpToSingleSlice(&bytes).ok()) {
      return FinishNow(context, {Code::kInternal, "no request"});
    }
    const auto call =
        ReadSet({reinterpret_cast<const char*>(bytes.begin()), bytes.size()}, options_);
    if (!call.ok()) return FinishNow(context, call.status());
    const auto options = WriteOptionsOf(call->options, options_.write);
    if (!options.ok()) return FinishNow(context, options.status());
    const auto count = static_cast<std::uint32_t>(call->items.size());
    return Write(driver_, call->items, *options,
                 [response, count](const sync::WriteOutcome& outcome) {
                   v1::SetResponse answer;
                   answer.set_set(count);
                   answer.set_version(outcome.version.ToString());
                   PutOutcome(outcome, answer.mutable_ack());
                   PutBytes(answer, response);
                 });
  }

  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override {
    const auto items = ItemsOf(*request, options_);
    if (!items.ok()) return FinishNow(context, items.status());
    const auto options = WriteOptionsOf(request->options(), options_.write);
    if (!options.ok()) return FinishNow(context, options.status());
    const auto count = static_cast<std::uint32_t>(items->size());
    return Write(driver_, *items, *options, [response, count](const sync::WriteOutcome& outcome) {
      response->set_deleted(count);
      response->set_version(outcome.version.ToString());
      PutOutcome(outcome, response->mutable_ack());
    });
  }

  grpc::ServerWriteReactor<v1::GetAllResponse>* GetAll(grpc::CallbackServerContext*,
                                                       const v1::GetAllRequest* request) override {
    if (const Status status = CheckReadable(driver_); !status.ok()) {
      return new RefusedGetAll(status);
    }
    return new GetAllCall(*request, cache_, env_);
  }

 private:
  Status Read(const v1::GetRequest& request, v1::GetResponse* response) const {
    if (Status status = CheckReadable(driver_); !status.ok()) return status;
    if (Status status = Check(request, options_); !status.ok()) return status;
    const WallMs now = env_.now().wall;
    std::size_t bytes = 0;
    for (const v1::Key& key : request.keys()) {
      const EntryRef entry = cache_.Find(key.type(), key.key(), now);
      if (!entry) continue;
      bytes += entry->packed().size() + sizeof(v1::Entry);
      if (bytes > sync::kMaxMessageBytes) {
        response->clear_entries();
        return {Code::kExhausted, "answer over 64 MiB: ask for fewer keys"};
      }
      PutEntry(*entry, now, response->add_entries());
    }
    return {};
  }

  const RequestOptions options_;
  sync::Driver& driver_;
  const podmirror::Cache& cache_;
  const Env& env_;
  ByteBudget answers_{sync::kMaxMessageBytes};  // answers of Get that are made and not sent yet
};

}  // namespace

std::unique_ptr<grpc::Service> NewCacheService(const RequestOptions& options, sync::Driver& driver,
                                               const Cache& cache, const Env& env) {
  return std::make_unique<CacheService>(options, driver, cache, env);
}

}  // namespace podmirror::rpc
