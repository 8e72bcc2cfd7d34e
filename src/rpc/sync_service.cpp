#include "rpc/sync_service.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "hellorpc/hellorpc.pb.h"

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

// Gathers whole types, one group of buckets at a time: between them others get the bulk thread.
class GetAllCall final : public std::enable_shared_from_this<GetAllCall> {
 public:
  GetAllCall(std::shared_ptr<UnaryCall> call, const hellorpc::SyncRequest& request,
             const Cache& cache, const Env& env, telemetry::Metrics& metrics, net::BulkThread& bulk,
             std::atomic<int>& running)
      : call_(std::move(call)),
        all_(request.data().empty()),
        answer_(&response_),
        cache_(cache),
        env_(env),
        metrics_(metrics),
        bulk_(bulk),
        running_(running) {
    for (const hellorpc::SyncData& data : request.data()) {
      hellorpc::SyncData*& known = types_[data.type()];
      if (known == nullptr) known = answer_.AddData(data.type());
    }
  }
  ~GetAllCall() { running_.fetch_sub(1); }

  void Start() {
    bulk_.Post([self = shared_from_this()] { self->Continue(); });
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
    if (bucket_ != kBuckets && answer_.fits() && !call_->over()) {
      Start();
      return;
    }
    if (answer_.skipped() != 0) metrics_.LegacyValueSkipped(answer_.skipped());
    if (const Status status = answer_.Outcome(); !status.ok()) {
      call_->Fail(status);
    } else {
      call_->Answer(response_, shared_from_this());
    }
    response_.Clear();
  }

  void Add(const Entry& entry) {
    const trust::Permissions& may = call_->asker().may();
    if (!may.Allows(trust::Verb::kRead, entry.type(), entry.key())) return;
    auto data = types_.find(entry.type());
    if (data == types_.end()) {
      if (!all_) return;
      data = types_.emplace(entry.type(), answer_.AddData(entry.type())).first;
    }
    answer_.Add(entry, data->second);
  }

  const std::shared_ptr<UnaryCall> call_;
  const bool all_;
  hellorpc::SyncResponse response_;
  Answer answer_;
  const Cache& cache_;
  const Env& env_;
  telemetry::Metrics& metrics_;
  net::BulkThread& bulk_;
  std::atomic<int>& running_;
  std::map<std::int32_t, hellorpc::SyncData*> types_;
  std::uint32_t bucket_ = 0;  // the next one to read
};

class SyncService final : public Service {
 public:
  SyncService(const RequestOptions& options, sync::Driver& driver, const Cache& cache,
              const Env& env, telemetry::Metrics& metrics, net::BulkThread& bulk,
              const trust::Access& access)
      : options_(options),
        driver_(driver),
        cache_(cache),
        env_(env),
        metrics_(metrics),
        bulk_(bulk),
        access_(access) {}

  void AddTo(Methods& methods) override {
    using Method =
        Status (SyncService::*)(const std::shared_ptr<UnaryCall>&, hellorpc::SyncRequest&);
    const auto add = [&](const std::string& name, Method method) {
      methods.emplace("/hellorpc.Sync/" + name,
                      UnaryHandler(bulk_, [this, method](const std::shared_ptr<UnaryCall>& call) {
                        hellorpc::SyncRequest request;
                        Status status = FromBytes(call->request(), &request);
                        if (status.ok()) status = (this->*method)(call, request);
                        if (!status.ok()) call->Fail(status);
                      }));
    };
    add("Get", &SyncService::Get);
    add("Set", &SyncService::Set);
    add("GetAll", &SyncService::GetAll);
  }

 private:
  // Each answers the call, now or later, or tells why it fails.

  // A small request may have a large answer: the bulk thread makes it.
  Status Get(const std::shared_ptr<UnaryCall>& call, hellorpc::SyncRequest& request) {
    if (Status status = CheckRequest(request); !status.ok()) return status;
    for (const hellorpc::SyncData& asked : request.data()) {
      for (const auto& [key, unused] : asked.data()) {
        Status status = access_.Permit(call->asker(), {trust::Verb::kRead, asked.type(), key});
        if (!status.ok()) return status;
      }
    }
    if (Status status = CheckReadable(driver_); !status.ok()) return status;
    bulk_.Post([this, call, request = std::move(request)] {
      hellorpc::SyncResponse response;
      if (const Status status = Read(request, &response); !status.ok()) {
        call->Fail(status);
      } else {
        call->AnswerRead(response, answers_);
      }
    });
    return {};
  }

  Status Set(const std::shared_ptr<UnaryCall>& call, hellorpc::SyncRequest& request) {
    const auto items = ItemsOf(request, options_);
    if (!items.ok()) return items.status();
    if (Status status = access_.PermitWrite(call->asker(), *items); !status.ok()) return status;
    const auto audited = access_.Audited(call->asker(), *items);
    const sync::WriteRefusal refusal = driver_.WriteLocal(*items);
    const bool refused = refusal != sync::WriteRefusal::kNone;
    if (audited) audited->Tell(refused ? "failed" : "ok");
    if (refused) return RefusalStatus(refusal);
    hellorpc::SyncResponse response;
    response.mutable_data()->Swap(request.mutable_data());
    call->Answer(response);
    return {};
  }

  Status GetAll(const std::shared_ptr<UnaryCall>& call, hellorpc::SyncRequest& request) {
    if (Status status = CheckRequest(request); !status.ok()) return status;
    if (request.data().empty()) {
      Status status = access_.Permit(call->asker(), {trust::Verb::kRead});
      if (!status.ok()) return status;
    }
    for (const hellorpc::SyncData& asked : request.data()) {
      Status status = access_.Permit(call->asker(), {trust::Verb::kRead, asked.type()});
      if (!status.ok()) return status;
    }
    if (Status status = CheckReadable(driver_); !status.ok()) return status;
    if (get_alls_.fetch_add(1) >= kMaxGetAlls) {
      get_alls_.fetch_sub(1);
      return {Code::kUnavailable, "overloaded"};
    }
    std::make_shared<GetAllCall>(call, request, cache_, env_, metrics_, bulk_, get_alls_)->Start();
    return {};
  }

  Status CheckRequest(const hellorpc::SyncRequest& request) const {
    std::size_t count = static_cast<std::size_t>(request.data_size());
    for (const hellorpc::SyncData& data : request.data()) count += data.data().size();
    return CheckSize(request.ByteSizeLong(), count, options_);
  }

  Status Read(const hellorpc::SyncRequest& request, hellorpc::SyncResponse* response) {
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
  net::BulkThread& bulk_;
  const trust::Access& access_;
  std::atomic<int> get_alls_{0};
  ByteBudget answers_{sync::kMaxMessageBytes};  // answers of Get that are made and not sent yet
};

}  // namespace

std::unique_ptr<Service> NewSyncService(const RequestOptions& options, sync::Driver& driver,
                                        const Cache& cache, const Env& env,
                                        telemetry::Metrics& metrics, net::BulkThread& bulk,
                                        const trust::Access& access) {
  return std::make_unique<SyncService>(options, driver, cache, env, metrics, bulk, access);
}

}  // namespace podmirror::rpc
