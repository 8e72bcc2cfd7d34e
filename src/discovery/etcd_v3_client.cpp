#include "discovery/etcd_v3_client.h"

#include <absl/strings/match.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "discovery/etcd_v3_channel.h"
#include "etcd/rpc.grpc.pb.h"

namespace podmirror::discovery {
namespace {

constexpr SteadyMs kCallTimeoutMs = 10'000;
constexpr std::int64_t kPageKeys = 500;
constexpr SteadyMs kForever = std::numeric_limits<SteadyMs>::max();

// What a completion queue event belongs to. At most one operation beside kWake is under way.
enum class Op : std::intptr_t {
  kNone,
  kWake,
  kCall,
  kWatchStart,
  kWatchWrite,
  kWatchRead,
  kFinish
};
void* TagOf(Op op) { return reinterpret_cast<void*>(op); }  // NOLINT(performance-no-int-to-ptr)

gpr_timespec InMs(SteadyMs ms) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

// What follows all keys that begin with `prefix`. Requires: it ends with '/'.
std::string EndOf(std::string prefix) {
  ++prefix.back();
  return prefix;
}

class Client final : public EtcdV3Client {
 public:
  Client(CheckedEtcdOptions checked, std::function<bool()> stopping)
      : checked_(std::move(checked)), stopping_(std::move(stopping)) {}

  ~Client() override {
    CloseWatch();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  Result<std::int64_t> List(const std::string& prefix, const OnKey& on_key) override;
  Status OpenWatch(const std::string& prefix, std::int64_t revision) override;
  Result<std::optional<EtcdWatchAnswer>> NextWatchAnswer(SteadyMs until) override {
    return ReadWatch(until, /*wake_ends=*/true);
  }
  void CloseWatch() override;
  void Wake() override;

  // Also where there is but one: a channel that has failed once tries again only while somebody
  // waits for it, and resolves names again only every 30 s.
  void NextEndpoint() override {
    CloseWatch();
    member_ = Member();
    endpoint_ = (endpoint_ + 1) % checked_.endpoints.size();
    token_.clear();
  }

  std::string endpoint_name() const override { return checked_.endpoints[endpoint_].ToString(); }

 private:
  struct Member {
    std::unique_ptr<etcdserverpb::KV::Stub> kv;
    std::unique_ptr<etcdserverpb::Watch::Stub> watch;
    std::unique_ptr<etcdserverpb::Auth::Stub> auth;
  };
  enum class Outcome { kDone, kFailed, kTimeout, kWoken };

  Status Connect();
  Outcome Await(Op op, SteadyMs until);
  bool AwaitWatch(Op op);
  Result<std::optional<EtcdWatchAnswer>> ReadWatch(SteadyMs until, bool wake_ends);
  grpc::Status EndWatch();
  void AddToken(grpc::ClientContext& context) const;
  Status Authenticate();
  template <typename Call, typename Response>
  grpc::Status Unary(const Call& prepare, Response& response);
  grpc::Status Range(const etcdserverpb::RangeRequest& request,
                     etcdserverpb::RangeResponse& response);
  Result<std::optional<EtcdWatchAnswer>> Convert(etcdserverpb::WatchResponse& message) const;

  const CheckedEtcdOptions checked_;
  const std::function<bool()> stopping_;

  std::size_t endpoint_ = 0;
  Member member_;  // of endpoint_; connected when first used
  std::string token_;
  std::uint64_t cluster_id_ = 0;    // of the last list
  std::int64_t list_revision_ = 0;  // of the last list

  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientContext> watch_context_;
  std::unique_ptr<
      grpc::ClientAsyncReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      watch_;
  etcdserverpb::WatchResponse watch_message_;  // being read into while kWatchRead is under way
  Op watch_op_ = Op::kNone;                    // what of the watch is under way

  absl::Mutex wake_mutex_;
  grpc::Alarm wake_alarm_ ABSL_GUARDED_BY(wake_mutex_);
  bool wake_pending_ ABSL_GUARDED_BY(wake_mutex_) = false;
};

void Client::Wake() {
  absl::MutexLock lock(&wake_mutex_);
  if (wake_pending_) return;
  wake_pending_ = true;
  wake_alarm_.Set(&queue_, gpr_now(GPR_CLOCK_MONOTONIC), TagOf(Op::kWake));
}

// Waits for the end of `op`, for `until`, or for Wake.
Client::Outcome Client::Await(Op op, SteadyMs until) {
  const gpr_timespec deadline = until == kForever ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                                                  : InMs(until - Env::Real().now().steady);
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) {
    return Outcome::kTimeout;
  }
  if (tag == TagOf(Op::kWake)) {
    absl::MutexLock lock(&wake_mutex_);
    wake_pending_ = false;
    return Outcome::kWoken;
  }
  if (tag != TagOf(op)) std::abort();
  return ok ? Outcome::kDone : Outcome::kFailed;
}

Status Client::Connect() {
  if (member_.kv != nullptr) return Status();
  Result<std::shared_ptr<grpc::Channel>> opened =
      OpenEtcdChannel(checked_.options, checked_.endpoints[endpoint_]);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<grpc::Channel>& channel = *opened;
  member_ = {.kv = etcdserverpb::KV::NewStub(channel),
             .watch = etcdserverpb::Watch::NewStub(channel),
             .auth = etcdserverpb::Auth::NewStub(channel)};
  return Status();
}

// One call, cancelled when stopping. `prepare` makes it: (context, queue) -> reader.
template <typename Call, typename Response>
grpc::Status Client::Unary(const Call& prepare, Response& response) {
  grpc::ClientContext context;
  context.set_deadline(InMs(kCallTimeoutMs));
  AddToken(context);
  const auto reader = prepare(&context, &queue_);
  reader->StartCall();
  grpc::Status status;
  reader->Finish(&response, &status, TagOf(Op::kCall));
  // It ends by its own deadline, if not before.
  while (true) {
    if (stopping_()) context.TryCancel();
    const Outcome outcome = Await(Op::kCall, kForever);
    if (outcome == Outcome::kDone || outcome == Outcome::kFailed) return status;
  }
}

void Client::AddToken(grpc::ClientContext& context) const {
  if (!token_.empty()) context.AddMetadata("token", token_);
}

Status Client::Authenticate() {
  token_.clear();
  // Read each time: passwords are rotated.
  const Result<std::string> password = ReadPassword(checked_.options);
  if (!password.ok()) return password.status();
  etcdserverpb::AuthenticateRequest request;
  request.set_name(checked_.options.user);
  request.set_password(*password);
  etcdserverpb::AuthenticateResponse response;
  const grpc::Status status = Unary(
      [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return member_.auth->PrepareAsyncAuthenticate(context, request, queue);
      },
      response);
  // A server that has no users yet serves without a token.
  if (absl::StrContains(status.error_message(), "authentication is not enabled")) return Status();
  if (status.ok()) token_ = response.token();
  return FromGrpc(status);
}

grpc::Status Client::Range(const etcdserverpb::RangeRequest& request,
                           etcdserverpb::RangeResponse& response) {
  return Unary(
      [&](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return member_.kv->PrepareAsyncRange(context, request, queue);
      },
      response);
}

Result<std::int64_t> Client::List(const std::string& prefix, const OnKey& on_key) {
  CloseWatch();
  if (Status status = Connect(); !status.ok()) return status;
  const bool has_user = !checked_.options.user.empty();
  if (has_user && token_.empty()) {
    if (Status status = Authenticate(); !status.ok()) return status;
  }
  etcdserverpb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(EndOf(prefix));
  request.set_limit(kPageKeys);
  for (bool may_authenticate = has_user, more = true; more;) {
    etcdserverpb::RangeResponse page;
    const grpc::Status status = Range(request, page);
    if (may_authenticate && WantsNewToken(status)) {
      may_authenticate = false;
      if (Status renewed = Authenticate(); !renewed.ok()) return renewed;
      continue;
    }
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && request.limit() > 1) {
      // Very large records: fewer of them at a time.
      request.set_limit(std::max<std::int64_t>(request.limit() / 8, 1));
      continue;
    }
    if (!status.ok()) return FromGrpc(status);
    if (request.revision() == 0) {
      // All later pages are of the same instant as the first.
      request.set_revision(page.header().revision());
      cluster_id_ = page.header().cluster_id();
      list_revision_ = page.header().revision();
    }
    more = page.more();
    if (more && (page.kvs().empty() || page.kvs().rbegin()->key() < request.key())) {
      return Status(Code::kInternal, "a page that does not go on");
    }
    if (more) request.set_key(page.kvs().rbegin()->key() + '\0');
    for (mvccpb::KeyValue& kv : *page.mutable_kvs()) {
      Status status_of_key = on_key({.key = std::move(*kv.mutable_key()),
                                     .value = std::move(*kv.mutable_value()),
                                     .mod_revision = kv.mod_revision()});
      if (!status_of_key.ok()) return status_of_key;
    }
  }
  return list_revision_;
}

// True when it went through; false when it failed, took too long or we are stopping.
bool Client::AwaitWatch(Op op) {
  watch_op_ = op;
  const SteadyMs until = Env::Real().now().steady + kCallTimeoutMs;
  while (true) {
    const Outcome outcome = Await(op, until);
    if (outcome == Outcome::kWoken && !stopping_()) continue;
    if (outcome == Outcome::kDone || outcome == Outcome::kFailed) watch_op_ = Op::kNone;
    return outcome == Outcome::kDone;
  }
}

Status Client::OpenWatch(const std::string& prefix, std::int64_t revision) {
  CloseWatch();
  if (Status status = Connect(); !status.ok()) return status;
  watch_context_ = std::make_unique<grpc::ClientContext>();
  // A member that has lost its leader ends the watch instead of keeping it open in silence.
  watch_context_->AddMetadata("hasleader", "true");
  AddToken(*watch_context_);
  watch_ = member_.watch->PrepareAsyncWatch(watch_context_.get(), &queue_);
  watch_->StartCall(TagOf(Op::kWatchStart));
  if (!AwaitWatch(Op::kWatchStart)) return FromGrpc(EndWatch());
  etcdserverpb::WatchRequest request;
  etcdserverpb::WatchCreateRequest& create = *request.mutable_create_request();
  create.set_key(prefix);
  create.set_range_end(EndOf(prefix));
  create.set_start_revision(revision);
  create.set_progress_notify(true);
  create.set_fragment(true);
  watch_->Write(request, TagOf(Op::kWatchWrite));
  if (!AwaitWatch(Op::kWatchWrite)) return FromGrpc(EndWatch());
  watch_->Read(&watch_message_, TagOf(Op::kWatchRead));
  watch_op_ = Op::kWatchRead;
  // The first message says whether there is a watch.
  const Result<std::optional<EtcdWatchAnswer>> created =
      ReadWatch(Env::Real().now().steady + kCallTimeoutMs, /*wake_ends=*/false);
  if (created.ok() && !created->has_value()) return Status(Code::kDeadline, "no answer");
  return created.status();
}

Result<std::optional<EtcdWatchAnswer>> Client::ReadWatch(SteadyMs until, bool wake_ends) {
  while (true) {
    switch (Await(Op::kWatchRead, until)) {
      case Outcome::kWoken:
        if (!wake_ends && !stopping_()) continue;
        [[fallthrough]];
      case Outcome::kTimeout:
        return std::optional<EtcdWatchAnswer>();
      case Outcome::kFailed:
        watch_op_ = Op::kNone;
        return FromGrpc(EndWatch());
      case Outcome::kDone:
        break;
    }
    break;
  }
  watch_op_ = Op::kNone;
  Result<std::optional<EtcdWatchAnswer>> answer = Convert(watch_message_);
  watch_->Read(&watch_message_, TagOf(Op::kWatchRead));
  watch_op_ = Op::kWatchRead;
  return answer;
}

Result<std::optional<EtcdWatchAnswer>> Client::Convert(etcdserverpb::WatchResponse& message) const {
  // First of all: a refused watch is answered with created and canceled both set.
  if (message.canceled() && message.compact_revision() != 0) {
    return Status(Code::kNotFound, "the history was compacted");
  }
  if (message.canceled()) return Status(Code::kRefused, ShortenEtcdError(message.cancel_reason()));
  if (message.header().cluster_id() != cluster_id_) {
    return Status(Code::kInternal, "another cluster answers");
  }
  if (message.header().revision() < list_revision_) {
    return Status(Code::kInternal, "the revision went back");
  }
  EtcdWatchAnswer answer;
  answer.revision = message.header().revision();
  answer.partial = message.fragment();
  for (mvccpb::Event& event : *message.mutable_events()) {
    answer.changes.push_back({.key = std::move(*event.mutable_kv()->mutable_key()),
                              .value = std::move(*event.mutable_kv()->mutable_value()),
                              .mod_revision = event.kv().mod_revision(),
                              .deleted = event.type() == mvccpb::Event::DELETE});
  }
  return std::optional(std::move(answer));
}

// Ends the watch and returns how it ended.
grpc::Status Client::EndWatch() {
  watch_context_->TryCancel();  // no-op if it has ended by itself
  const auto wait = [this](Op op) {
    while (Await(op, kForever) == Outcome::kWoken) {
    }
  };
  if (watch_op_ != Op::kNone) wait(watch_op_);
  grpc::Status status;
  watch_->Finish(&status, TagOf(Op::kFinish));
  wait(Op::kFinish);
  watch_op_ = Op::kNone;
  watch_.reset();
  watch_context_.reset();
  return status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the watch ended") : status;
}

void Client::CloseWatch() {
  if (watch_ != nullptr) static_cast<void>(EndWatch());
}

}  // namespace

std::unique_ptr<EtcdV3Client> NewEtcdV3Client(CheckedEtcdOptions options,
                                              std::function<bool()> stopping) {
  return std::make_unique<Client>(std::move(options), std::move(stopping));
}

}  // namespace podmirror::discovery
