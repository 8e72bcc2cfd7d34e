#include "discovery/etcd_v3_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "discovery/etcd_v3_channel.h"
#include "discovery/etcd_v3_session.h"
#include "net/grpc_bytes.h"

namespace podmirror::discovery {
namespace {

using Op = EtcdV3Session::Op;
using Outcome = EtcdV3Session::Outcome;

constexpr std::int64_t kPageKeys = 500;

// The longest time to open a watch: the member needs no other member for it.
constexpr SteadyMs kOpenTimeoutMs = 5'000;

class Client final : public EtcdV3Client {
 public:
  Client(CheckedEtcdOptions checked, std::function<bool()> stopping, Env& env)
      : env_(env), session_(std::move(checked), std::move(stopping), env) {}

  ~Client() override { CloseWatch(); }

  Result<std::int64_t> List(const std::string& prefix, const OnKey& on_key) override;
  Status OpenWatch(const std::string& prefix, std::int64_t revision) override;
  Result<std::optional<EtcdWatchAnswer>> NextWatchAnswer(SteadyMs until) override {
    return ReadWatch(until, /*wake_ends=*/true);
  }
  Result<std::int64_t> CountKeys(const std::string& prefix) override;
  void CloseWatch() override;
  void Wake() override { session_.Wake(); }
  void NextEndpoint() override {
    CloseWatch();
    session_.NextEndpoint();
  }
  std::string endpoint_name() const override { return session_.endpoint_name(); }

 private:
  SteadyMs OpenDeadline() const { return env_.now().steady + kOpenTimeoutMs; }
  bool AwaitWatch(Op op);
  Result<std::optional<EtcdWatchAnswer>> ReadWatch(SteadyMs until, bool wake_ends);
  grpc::Status EndWatch();
  Result<std::optional<EtcdWatchAnswer>> Convert(etcdserverpb::WatchResponse& message) const;
  bool IsMadeUp(const etcdserverpb::ResponseHeader& header) const;
  Status CheckStore(const etcdserverpb::ResponseHeader& header) const;

  Env& env_;
  EtcdV3Session session_;
  std::uint64_t cluster_id_ = 0;    // of the last list
  std::int64_t list_revision_ = 0;  // of the last list

  std::unique_ptr<grpc::ClientContext> watch_context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> watch_;
  grpc::ByteBuffer watch_message_;  // being read into while kRead is under way
  std::optional<Op> watch_op_;      // the watch's operation that is under way
};

Result<std::int64_t> Client::List(const std::string& prefix, const OnKey& on_key) {
  CloseWatch();
  if (Status status = session_.Connect(); !status.ok()) return status;
  etcdserverpb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(EndOfPrefix(prefix));
  request.set_limit(kPageKeys);
  for (bool more = true; more;) {
    etcdserverpb::RangeResponse page;
    const grpc::Status status = session_.Range(request, page);
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && request.limit() > 1) {
      // Very large records: fewer of them at a time.
      request.set_limit(std::max<std::int64_t>(request.limit() / 8, 1));
      continue;
    }
    if (!status.ok()) return session_.ToStatus(status);
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

Result<std::int64_t> Client::CountKeys(const std::string& prefix) {
  etcdserverpb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(EndOfPrefix(prefix));
  request.set_count_only(true);
  etcdserverpb::RangeResponse response;
  const grpc::Status status = session_.Range(request, response);
  if (!status.ok()) return session_.ToStatus(status);
  if (Status same = CheckStore(response.header()); !same.ok()) return same;
  return response.count();
}

// True when `op` succeeded; false when it failed, took too long or we are stopping.
bool Client::AwaitWatch(Op op) {
  watch_op_ = op;
  const SteadyMs until = OpenDeadline();
  while (true) {
    const Outcome outcome = session_.Await(op, until);
    if (outcome == Outcome::kWoken && !session_.stopping()) continue;
    if (outcome == Outcome::kDone || outcome == Outcome::kFailed) watch_op_.reset();
    return outcome == Outcome::kDone;
  }
}

Status Client::OpenWatch(const std::string& prefix, std::int64_t revision) {
  CloseWatch();
  if (Status status = session_.Connect(); !status.ok()) return status;
  watch_context_ = std::make_unique<grpc::ClientContext>();
  watch_ = session_.PrepareWatch(*watch_context_);
  watch_->StartCall(session_.TagOf(Op::kStart));
  if (!AwaitWatch(Op::kStart)) return session_.ToStatus(EndWatch());
  etcdserverpb::WatchRequest request;
  etcdserverpb::WatchCreateRequest& create = *request.mutable_create_request();
  create.set_key(prefix);
  create.set_range_end(EndOfPrefix(prefix));
  create.set_start_revision(revision);
  create.set_progress_notify(true);
  create.set_fragment(true);
  watch_->Write(net::ToBytes(request), session_.TagOf(Op::kWrite));
  if (!AwaitWatch(Op::kWrite)) return session_.ToStatus(EndWatch());
  watch_->Read(&watch_message_, session_.TagOf(Op::kRead));
  watch_op_ = Op::kRead;
  // The first message says whether there is a watch.
  const Result<std::optional<EtcdWatchAnswer>> created =
      ReadWatch(OpenDeadline(), /*wake_ends=*/false);
  if (created.ok() && !created->has_value()) return Status(Code::kDeadline, "no answer");
  return created.status();
}

Result<std::optional<EtcdWatchAnswer>> Client::ReadWatch(SteadyMs until, bool wake_ends) {
  while (true) {
    switch (session_.Await(Op::kRead, until)) {
      case Outcome::kWoken:
        if (!wake_ends && !session_.stopping()) continue;
        [[fallthrough]];
      case Outcome::kTimeout:
        return std::optional<EtcdWatchAnswer>();
      case Outcome::kFailed:
        watch_op_.reset();
        return session_.ToStatus(EndWatch());
      case Outcome::kDone:
        break;
    }
    break;
  }
  watch_op_.reset();
  etcdserverpb::WatchResponse message;
  const Status parsed = net::FromBytes(watch_message_, &message);
  Result<std::optional<EtcdWatchAnswer>> answer =
      parsed.ok() ? Convert(message) : Result<std::optional<EtcdWatchAnswer>>(parsed);
  watch_->Read(&watch_message_, session_.TagOf(Op::kRead));
  watch_op_ = Op::kRead;
  return answer;
}

Result<std::optional<EtcdWatchAnswer>> Client::Convert(etcdserverpb::WatchResponse& message) const {
  // First of all: a refused watch is answered with created and canceled both set.
  if (message.canceled() && message.compact_revision() != 0) {
    return Status(Code::kNotFound, "the history was compacted");
  }
  if (message.canceled()) {
    return session_.ToStatus(
        grpc::Status(grpc::StatusCode::PERMISSION_DENIED, message.cancel_reason()));
  }
  if (Status same = CheckStore(message.header()); !same.ok()) return same;
  EtcdWatchAnswer answer;
  answer.revision = IsMadeUp(message.header()) ? 0 : message.header().revision();
  answer.partial = message.fragment();
  for (mvccpb::Event& event : *message.mutable_events()) {
    answer.changes.push_back({.key = std::move(*event.mutable_kv()->mutable_key()),
                              .value = std::move(*event.mutable_kv()->mutable_value()),
                              .mod_revision = event.kv().mod_revision(),
                              .deleted = event.type() == mvccpb::Event::DELETE});
  }
  return std::optional(std::move(answer));
}

// `etcd grpc-proxy` shares one watch between all clients that watch the same keys. It opens the
// watches of all clients but the first without asking etcd: the header of such an answer names no
// cluster, and its revision is the one that the client asked for.
bool Client::IsMadeUp(const etcdserverpb::ResponseHeader& header) const {
  return header.cluster_id() == 0 && cluster_id_ != 0;
}

// Whether an answer is of the store that was listed.
Status Client::CheckStore(const etcdserverpb::ResponseHeader& header) const {
  if (IsMadeUp(header)) return Status();
  if (header.cluster_id() != cluster_id_) return Status(Code::kInternal, "another cluster answers");
  if (header.revision() < list_revision_) return Status(Code::kInternal, "the revision went back");
  return Status();
}

// Ends the watch and returns how it ended.
grpc::Status Client::EndWatch() {
  const auto wait = [this](Op op) {
    while (session_.Await(op, kForever) == Outcome::kWoken) {
    }
  };
  if (watch_op_) {  // else it has ended by itself, and says why
    watch_context_->TryCancel();
    wait(*watch_op_);
  }
  grpc::Status status;
  watch_->Finish(&status, session_.TagOf(Op::kFinish));
  wait(Op::kFinish);
  watch_op_.reset();
  watch_.reset();
  watch_context_.reset();
  return status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the watch ended") : status;
}

void Client::CloseWatch() {
  if (watch_ != nullptr) static_cast<void>(EndWatch());
}

}  // namespace

std::unique_ptr<EtcdV3Client> NewEtcdV3Client(CheckedEtcdOptions options,
                                              std::function<bool()> stopping, Env& env) {
  return std::make_unique<Client>(std::move(options), std::move(stopping), env);
}

}  // namespace podmirror::discovery
