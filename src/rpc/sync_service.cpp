#include "rpc/sync_service.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <utility>

#include "hellorpc/hellorpc.grpc.pb.h"
#include "net/grpc_status.h"
#include "rpc/finish.h"

namespace podmirror::rpc {
namespace {

// Tags and lengths of one map element at most.
constexpr std::size_t kElementBytes = 16;
// Calls of GetAll at one time: each may hold 64 MiB in memory until its client has read them.
constexpr int kMaxGetAlls = 4;

// Adds entries to a response as long as they fit and can be carried.
class Answer {
 public:
  explicit Answer(hellorpc::SyncResponse* response) : response_(response) {}

  hellorpc::SyncData* AddData(std::int32_t type) {
    bytes_ += kElementBytes;
    hellorpc::SyncData* data = response_->add_data();
    data->set_type(type);
    return data;
  }

  void Add(const Entry& entry, hellorpc::SyncData* data) {
    if (!IsUtf8(entry.value())) {
      ++skipped_;
      return;
    }
    bytes_ += entry.key().size() + entry.value().size() + kElementBytes;
    if (!fits()) return;
    (*data->mutable_data())[std::string(entry.key())] = std::string(entry.value());
  }

  bool fits() const { return bytes_ <= sync::kMaxMessageBytes; }
  std::uint64_t skipped() const { return skipped_; }

  // How the call ends: when the answer does not fit, nothing of it is sent.
  Status Outcome() {
    if (fits()) return {};
    response_->Clear();
    return {Code::kExhausted, "answer over 64 MiB"};
  }

 private:
  hellorpc::SyncResponse* const response_;
  std::size_t bytes_ = 0;
  std::uint64_t skipped_ = 0;
};

// Gathers whole types, one group of buckets at a time: between them other calls get the thread, so
// a large cache does not hold up the streams of peers.
class GetAllCall final : public grpc::ServerUnaryReactor {
 public:
  GetAllCall(const hellorpc::SyncRequest& request, hellorpc::SyncResponse* response,
             const Cache& cache, const Env& env, telemetry::Metrics& metrics,
             std::atomic<int>& running)
      : all_(request.data().empty()),
        answer_(response),
        cache_(cache),
        env_(env),
        metrics_(metrics),
        running_(running) {
    for (const hellorpc::SyncData& data : request.data()) {
      hellorpc::SyncData*& known = types_[data.type()];
      if (known == nullptr) known = answer_.AddData(data.type());
    }
    Continue();
  }

  void OnCancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  void OnDone() override {
    running_.fetch_sub(1);
    delete this;
  }

 private:
  void Continue() {
    const WallMs now = env_.now().wall;
    const std::uint32_t end = std::min(bucket_ + kBucketsPerGroup, kBuckets);
    for (; bucket_ < end && answer_.fits(); bucket_ = cache_.NextStored(bucket_ + 1)) {
      for (const EntryRef& entry : cache_.Bucket(bucket_)) {
        if (!entry->tombstone() && !entry->expired(now)) Add(*entry);
      }
    }
    if (bucket_ == kBuckets || !answer_.fits() || cancelled_.load(std::memory_order_relaxed)) {
      if (answer_.skipped() != 0) metrics_.LegacyValueSkipped(answer_.skipped());
      Finish(net::ToGrpc(answer_.Outcome()));
      return;
    }
    // A new alarm each time: the one that called us is still in use by gRPC.
    next_ = std::make_unique<grpc::Alarm>();
    next_->Set(gpr_time_0(GPR_TIMESPAN), [this](bool) { Continue(); });
  }

  void Add(const Entry& entry) {
    auto data = types_.find(entry.type());
    if (data == types_.end()) {
      if (!all_) return;
      data = types_.emplace(entry.type(), answer_.AddData(entry.type())).first;
    }
    answer_.Add(entry, data->second);
  }

  const bool all_;
  Answer answer_;
  const Cache& cache_;
  const Env& env_;
  telemetry::Metrics& metrics_;
  std::atomic<int>& running_;
  std::atomic<bool> cancelled_{false};
  std::map<std::int32_t, hellorpc::SyncData*> types_;
  std::uint32_t bucket_ = 0;  // the next one to read
  std::unique_ptr<grpc::Alarm> next_;
};

class SyncService final : public hellorpc::Sync::CallbackService {
 public:
  SyncService(const RequestOptions& options, sync::Driver& driver, const Cache& cache,
              const Env& env, telemetry::Metrics& metrics)
      : options_(options), driver_(driver), cache_(cache), env_(env), metrics_(metrics) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context,
                                const hellorpc::SyncRequest* request,
                                hellorpc::SyncResponse* response) override {
    return FinishRead(context, Read(*request, response), response, answers_);
  }

  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext* context,
                                const hellorpc::SyncRequest* request,
                                hellorpc::SyncResponse* response) override {
    const auto items = ItemsOf(*request, options_);
    if (!items.ok()) return FinishNow(context, items.status());
    const sync::WriteRefusal refusal = driver_.WriteLocal(*items);
    if (refusal != sync::WriteRefusal::kNone) return FinishNow(context, RefusalStatus(refusal));
    *response->mutable_data() = request->data();
    return FinishNow(context, {});
  }

  grpc::ServerUnaryReactor* GetAll(grpc::CallbackServerContext* context,
                                   const hellorpc::SyncRequest* request,
                                   hellorpc::SyncResponse* response) override {
    if (const Status status = CheckReadable(driver_); !status.ok()) {
      return FinishNow(context, status);
    }
    if (const Status status = CheckRequest(*request); !status.ok()) {
      return FinishNow(context, status);
    }
    if (get_alls_.fetch_add(1) >= kMaxGetAlls) {
      get_alls_.fetch_sub(1);
      return FinishNow(context, {Code::kUnavailable, "overloaded"});
    }
    return new GetAllCall(*request, response, cache_, env_, metrics_, get_alls_);
  }

 private:
  Status CheckRequest(const hellorpc::SyncRequest& request) const {
    std::size_t count = static_cast<std::size_t>(request.data_size());
    for (const hellorpc::SyncData& data : request.data()) count += data.data().size();
    return CheckSize(request.ByteSizeLong(), count, options_);
  }

  Status Read(const hellorpc::SyncRequest& request, hellorpc::SyncResponse* response) {
    if (Status status = CheckReadable(driver_); !status.ok()) return status;
    if (Status status = CheckRequest(request); !status.ok()) return status;
    const WallMs now = env_.now().wall;
    Answer answer(response);
    for (const hellorpc::SyncData& asked : request.data()) {
      hellorpc::SyncData* data = answer.AddData(asked.type());
      for (const auto& [key, unused] : asked.data()) {
        const EntryRef entry = cache_.Find(asked.type(), key, now);
        if (entry) answer.Add(*entry, data);
      }
    }
    if (answer.skipped() != 0) metrics_.LegacyValueSkipped(answer.skipped());
    return answer.Outcome();
  }

  const RequestOptions options_;
  sync::Driver& driver_;
  const Cache& cache_;
  const Env& env_;
  telemetry::Metrics& metrics_;
  std::atomic<int> get_alls_{0};
  ByteBudget answers_{sync::kMaxMessageBytes};  // answers of Get that are made and not sent yet
};

}  // namespace

std::unique_ptr<grpc::Service> NewSyncService(const RequestOptions& options, sync::Driver& driver,
                                              const Cache& cache, const Env& env,
                                              telemetry::Metrics& metrics) {
  return std::make_unique<SyncService>(options, driver, cache, env, metrics);
}

}  // namespace podmirror::rpc
