#include "discovery/registry_lease.h"

#include <absl/strings/match.h>

#include <utility>

#include "discovery/etcd_v3_channel.h"
#include "net/grpc_channel.h"

namespace podmirror::discovery {
namespace {

constexpr std::chrono::seconds kCallTimeout{3};

}  // namespace

void RegistryLease::NextEndpoint() {
  channel_.reset();
  endpoint_ = (endpoint_ + 1) % checked_.endpoints.size();
  token_.clear();
}

void RegistryLease::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (current_ != nullptr) current_->TryCancel();
}

grpc::Status RegistryLease::Once(Ms timeout, const Call& call) {
  grpc::ClientContext context;
  net::SetTimeout(context, timeout.count());
  if (!token_.empty()) context.AddMetadata("token", token_);
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return {grpc::StatusCode::CANCELLED, "stopping"};
    current_ = &context;
  }
  grpc::Status status = call(context);
  absl::MutexLock lock(&mutex_);
  current_ = nullptr;
  return status;
}

Status RegistryLease::Connect() {
  if (channel_ != nullptr) return Status();
  Result<std::shared_ptr<grpc::Channel>> opened =
      OpenEtcdChannel(checked_.options, checked_.endpoints[endpoint_]);
  if (!opened.ok()) return opened.status();
  channel_ = std::move(*opened);
  return Status();
}

Status RegistryLease::Authenticate() {
  token_.clear();
  const Result<std::string> password = ReadPassword(checked_.options);
  if (!password.ok()) return password.status();
  etcdserverpb::AuthenticateRequest request;
  request.set_name(checked_.options.user);
  request.set_password(*password);
  etcdserverpb::AuthenticateResponse response;
  const grpc::Status status = Once(kCallTimeout, [&](grpc::ClientContext& context) {
    return etcdserverpb::Auth::NewStub(channel_)->Authenticate(&context, request, &response);
  });
  if (absl::StrContains(status.error_message(), "authentication is not enabled")) return Status();
  if (status.ok()) token_ = response.token();
  return FromEtcd(status);
}

Status RegistryLease::Do(const Call& call) {
  if (Status status = Connect(); !status.ok()) return status;
  const bool has_user = !checked_.options.user.empty();
  if (has_user && token_.empty()) {
    if (Status status = Authenticate(); !status.ok()) return status;
  }
  grpc::Status status = Once(kCallTimeout, call);
  if (has_user && WantsNewToken(status)) {
    if (Status renewed = Authenticate(); !renewed.ok()) return renewed;
    status = Once(kCallTimeout, call);
  }
  return FromEtcd(status);
}

Result<RegistryLease::Lease> RegistryLease::Grant(std::chrono::seconds ttl) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  etcdserverpb::LeaseGrantResponse response;
  Status status = Do([&](grpc::ClientContext& context) {
    return etcdserverpb::Lease::NewStub(channel_)->LeaseGrant(&context, request, &response);
  });
  if (!status.ok()) return status;
  if (!response.error().empty()) return Status(Code::kInternal, response.error());
  if (response.id() == 0 || response.ttl() <= 0) return Status(Code::kInternal, "not a lease");
  return Lease{.id = response.id(), .ttl = std::chrono::seconds(response.ttl())};
}

// Opens a stream for one question: the next question comes seconds later, maybe on another
// connection.
Status RegistryLease::KeepAlive(std::int64_t lease) {
  etcdserverpb::LeaseKeepAliveResponse response;
  Status status = Do([&](grpc::ClientContext& context) -> grpc::Status {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(lease);
    const auto stream = etcdserverpb::Lease::NewStub(channel_)->LeaseKeepAlive(&context);
    const bool answered = stream->Write(request) && stream->Read(&response);
    stream->WritesDone();
    grpc::Status ended = stream->Finish();
    // After an answer the stream's status says nothing: `etcd grpc-proxy` says CANCELLED when we
    // end a stream.
    if (answered) return grpc::Status::OK;
    if (ended.ok()) return {grpc::StatusCode::UNAVAILABLE, "no answer"};
    return ended;
  });
  if (status.ok() && response.ttl() <= 0) return Status(Code::kNotFound, "the lease has ended");
  return status;
}

Status RegistryLease::Revoke(std::int64_t lease, Ms timeout) {
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = false;
  }
  if (Status status = Connect(); !status.ok()) return status;
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseRevokeResponse response;
  return FromEtcd(Once(timeout, [&](grpc::ClientContext& context) {
    return etcdserverpb::Lease::NewStub(channel_)->LeaseRevoke(&context, request, &response);
  }));
}

Result<std::optional<RegistryLease::Entry>> RegistryLease::Get(const std::string& key) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  etcdserverpb::RangeResponse response;
  Status status = Do([&](grpc::ClientContext& context) {
    return etcdserverpb::KV::NewStub(channel_)->Range(&context, request, &response);
  });
  if (!status.ok()) return status;
  if (response.kvs().empty()) return std::optional<Entry>();
  mvccpb::KeyValue& kv = *response.mutable_kvs(0);
  return std::optional(Entry{.value = std::move(*kv.mutable_value()),
                             .lease = kv.lease(),
                             .mod_revision = kv.mod_revision()});
}

Result<bool> RegistryLease::PutIf(const std::string& key, const std::string& value,
                                  std::int64_t lease, std::int64_t mod_revision) {
  etcdserverpb::TxnRequest request;
  etcdserverpb::Compare& compare = *request.add_compare();
  compare.set_target(etcdserverpb::Compare::MOD);
  compare.set_key(key);
  compare.set_mod_revision(mod_revision);  // that of a key that is not there is 0
  etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(value);
  put.set_lease(lease);
  etcdserverpb::TxnResponse response;
  Status status = Do([&](grpc::ClientContext& context) {
    return etcdserverpb::KV::NewStub(channel_)->Txn(&context, request, &response);
  });
  if (!status.ok()) return status;
  return response.succeeded();
}

}  // namespace podmirror::discovery
