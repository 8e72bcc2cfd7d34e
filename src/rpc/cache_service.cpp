#include "rpc/cache_service.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "podmirror/v1/cache.pb.h"
#include "rpc/entries_call.h"
#include "sync/below.h"

namespace podmirror::rpc {
namespace {

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

class CacheService final : public Service {
 public:
  CacheService(const RequestOptions& options, sync::Driver& driver, const Cache& cache,
               const Env& env, net::BulkThread& bulk, net::BulkThread& scan,
               const trust::Access& access)
      : options_(options),
        driver_(driver),
        cache_(cache),
        env_(env),
        bulk_(bulk),
        scan_(scan),
        access_(access) {}
  void End() override { stopping_ = true; }

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
        "/podmirror.v1.Cache/Touch",
        UnaryHandler(bulk_, [this](const std::shared_ptr<UnaryCall>& call) { Touch(call); }));
    methods.emplace("/podmirror.v1.Cache/DeletePrefix",
                    UnaryHandler(bulk_, [this](const std::shared_ptr<UnaryCall>& call) {
                      DeletePrefix(call);
                    }));
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
      response.set_version(VersionText(outcome));
      PutOutcome(outcome, response.mutable_ack());
      return response;
    });
  }

  void Delete(const std::shared_ptr<UnaryCall>& call) {
    WriteItems<v1::DeleteRequest>(call, DeleteAnswer);
  }

  // A small request may copy many large values.
  void Touch(const std::shared_ptr<UnaryCall>& call) {
    bulk_.Post([this, call] { TouchNow(call); });
  }

  void TouchNow(const std::shared_ptr<UnaryCall>& call) {
    WriteItems<v1::TouchRequest>(call, [](std::size_t count, const sync::WriteOutcome& outcome) {
      v1::TouchResponse response;
      response.set_touched(static_cast<std::uint32_t>(count - outcome.absent.size()));
      response.set_missing(static_cast<std::uint32_t>(outcome.absent.size()));
      response.set_version(VersionText(outcome));
      PutOutcome(outcome, response.mutable_ack());
      return response;
    });
  }

  // answer(number of items, outcome) makes the response.
  template <typename Request, typename Answer>
  void WriteItems(const std::shared_ptr<UnaryCall>& call, Answer answer) {
    Request request;
    Status status = CheckSize(call->request().Length(), 0, options_);
    if (status.ok()) status = FromBytes(call->request(), &request);
    if (!status.ok()) {
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
    Write(driver_, access_, *items, *options, call,
          [count = items->size(), answer](const sync::WriteOutcome& outcome) {
            return answer(count, outcome);
          });
  }

  static v1::DeleteResponse DeleteAnswer(std::size_t count, const sync::WriteOutcome& outcome) {
    v1::DeleteResponse response;
    response.set_deleted(static_cast<std::uint32_t>(count - outcome.absent.size()));
    response.set_version(VersionText(outcome));
    PutOutcome(outcome, response.mutable_ack());
    return response;
  }

  void DeletePrefix(const std::shared_ptr<UnaryCall>& call) {
    v1::DeletePrefixRequest request;
    Status status = CheckSize(call->request().Length(), 0, options_);
    if (status.ok()) status = FromBytes(call->request(), &request);
    if (status.ok() && request.prefix().size() > options_.items.max_key_bytes) {
      status = Invalid("prefix is longer than any key");
    }
    if (status.ok()) {
      status = access_.Permit(call->asker(), {.verb = trust::Verb::kDelete,
                                              .type = request.type(),
                                              .key = request.prefix(),
                                              .below = true});
    }
    const auto options = WriteOptionsOf(request.options(), options_.write);
    if (status.ok()) status = options.status();
    if (status.ok()) status = CheckReadable(driver_);
    if (!status.ok()) {
      call->Fail(status);
      return;
    }
    const bool taken = scan_.TryPost(
        sync::kMaxDeletesWaiting, [this, call, request = std::move(request), options = *options] {
          Delete(call, request, options);
        });
    if (!taken) call->Fail({Code::kUnavailable, "too-many-deletes"});
  }

  void Delete(const std::shared_ptr<UnaryCall>& call, const v1::DeletePrefixRequest& request,
              const sync::WriteOptions& options) {
    // Who has hung up may have written anew since, and does not count on this any more.
    const auto given_up = [this, &call] { return stopping_.load() || call->over(); };
    const auto found = sync::FindBelow(cache_, request.type(), request.prefix(),
                                       sync::kMaxDeletedBelow, env_.now().wall, given_up);
    if (!found || given_up()) {
      call->Fail(stopping_ ? Status(Code::kUnavailable, "draining") : Invalid("batch-too-large"));
      return;
    }
    const std::vector<sync::WriteItem> items = sync::DeletesOf(*found);
    Write(driver_, access_, items, options, call,
          [count = items.size()](const sync::WriteOutcome& outcome) {
            return DeleteAnswer(count, outcome);
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
    StreamEntries(call, request, cache_, env_, bulk_);
  }

  const RequestOptions options_;
  sync::Driver& driver_;
  const podmirror::Cache& cache_;
  const Env& env_;
  net::BulkThread& bulk_;
  net::BulkThread& scan_;
  const trust::Access& access_;
  ByteBudget answers_{sync::kMaxMessageBytes};  // answers of Get that are made and not sent yet
  std::atomic<bool> stopping_ = false;
};

}  // namespace

std::unique_ptr<Service> NewCacheService(const RequestOptions& options, sync::Driver& driver,
                                         const Cache& cache, const Env& env, net::BulkThread& bulk,
                                         net::BulkThread& scan, const trust::Access& access) {
  return std::make_unique<CacheService>(options, driver, cache, env, bulk, scan, access);
}

}  // namespace podmirror::rpc
