#include "discovery/etcd_v3_session.h"

#include <absl/strings/match.h>
#include <absl/time/time.h>

#include <algorithm>
#include <utility>

#include "discovery/etcd_v3_channel.h"
#include "net/grpc_bytes.h"
#include "net/grpc_channel.h"

namespace podmirror::discovery {

EtcdV3Session::EtcdV3Session(CheckedEtcdOptions checked, std::function<bool()> stopping, Env& env)
    : checked_(std::move(checked)),
      stopping_(std::move(stopping)),
      env_(env),
      own_queue_(checked_.options.queue == nullptr ? std::make_unique<net::GrpcQueue>() : nullptr),
      queue_(own_queue_ != nullptr ? *own_queue_ : *checked_.options.queue) {}

Status EtcdV3Session::Connect() {
  if (channel_ == nullptr) {
    Result<std::shared_ptr<grpc::Channel>> opened =
        OpenEtcdChannel(checked_.options, checked_.endpoints[endpoint_]);
    if (!opened.ok()) return opened.status();
    channel_ = std::move(*opened);
  }
  return checked_.options.user.empty() || has_token_ ? Status() : Authenticate();
}

// Drops the channel even if there is only one member: a channel that has failed once tries again
// only while a call waits for it, and resolves names again only every 30 s.
void EtcdV3Session::NextEndpoint() {
  channel_.reset();
  endpoint_ = (endpoint_ + 1) % checked_.endpoints.size();
  token_.clear();
  has_token_ = false;
}

void EtcdV3Session::Wake() {
  absl::MutexLock lock(&news_->mu);
  news_->woken = true;
  news_->any.Signal();
}

void* EtcdV3Session::TagOf(Op op) {
  const auto place = static_cast<std::size_t>(op);
  return events_[place].Expect([news = news_, place](bool ok) {
    absl::MutexLock lock(&news->mu);
    news->ended[place] = ok ? Outcome::kDone : Outcome::kFailed;
    news->any.Signal();
  });
}

EtcdV3Session::Outcome EtcdV3Session::Await(Op op, SteadyMs until) {
  absl::MutexLock lock(&news_->mu);
  std::optional<Outcome>& ended = news_->ended[static_cast<std::size_t>(op)];
  while (!ended) {
    if (std::exchange(news_->woken, false)) return Outcome::kWoken;
    const absl::Duration left = until == kForever ? absl::InfiniteDuration()
                                                  : absl::Milliseconds(until - env_.now().steady);
    if (left <= absl::ZeroDuration()) return Outcome::kTimeout;
    news_->any.WaitWithTimeout(&news_->mu, left);
  }
  return *std::exchange(ended, std::nullopt);
}

std::unique_ptr<grpc::GenericClientAsyncReaderWriter> EtcdV3Session::PrepareWatch(
    grpc::ClientContext& context) {
  Prepare(context);
  return grpc::GenericStub(channel_).PrepareCall(&context, "/etcdserverpb.Watch/Watch",
                                                 queue_.queue());
}

// One call, cancelled when stopping.
grpc::Status EtcdV3Session::Unary(const char* method, const google::protobuf::Message& request,
                                  google::protobuf::Message& response) {
  grpc::ClientContext context;
  net::SetTimeout(context, call_timeout_ms_);
  Prepare(context);
  const auto reader = grpc::GenericStub(channel_).PrepareUnaryCall(
      &context, method, net::ToBytes(request), queue_.queue());
  reader->StartCall();
  grpc::Status status;
  grpc::ByteBuffer bytes;
  reader->Finish(&bytes, &status, TagOf(Op::kCall));
  // The call ends by its own deadline at the latest.
  while (true) {
    if (stopping_()) context.TryCancel();
    const Outcome outcome = Await(Op::kCall, kForever);
    if (outcome == Outcome::kDone || outcome == Outcome::kFailed) break;
  }
  if (status.ok()) {
    call_timeout_ms_ = kFirstCallTimeoutMs;
    const Status parsed = net::FromBytes(bytes, &response);
    if (!parsed.ok()) status = {grpc::StatusCode::INTERNAL, parsed.message()};
  } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    call_timeout_ms_ = std::min(call_timeout_ms_ * 2, kLastCallTimeoutMs);
  }
  return status;
}

void EtcdV3Session::Prepare(grpc::ClientContext& context) const {
  // A member that has lost its leader says so at once, and ends a watch, instead of being silent.
  context.AddMetadata("hasleader", "true");
  if (!token_.empty()) context.AddMetadata("token", token_);
}

Status EtcdV3Session::Authenticate() {
  token_.clear();
  has_token_ = false;
  const Result<std::string> password = ReadPassword(checked_.options);
  if (!password.ok()) return password.status();
  etcdserverpb::AuthenticateRequest request;
  request.set_name(checked_.options.user);
  request.set_password(*password);
  etcdserverpb::AuthenticateResponse response;
  const grpc::Status status = Unary("/etcdserverpb.Auth/Authenticate", request, response);
  // A server that has no users yet serves without a token.
  has_token_ =
      status.ok() || absl::StrContains(status.error_message(), "authentication is not enabled");
  if (!has_token_) return ToStatus(status);
  token_ = response.token();
  return Status();
}

grpc::Status EtcdV3Session::Range(const etcdserverpb::RangeRequest& request,
                                  etcdserverpb::RangeResponse& response) {
  const auto range = [&] { return Unary("/etcdserverpb.KV/Range", request, response); };
  grpc::Status status = range();
  if (checked_.options.user.empty() || !WantsNewToken(status)) return status;
  if (Status renewed = Authenticate(); !renewed.ok()) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, renewed.message());
  }
  return range();
}

Status EtcdV3Session::ToStatus(const grpc::Status& status) const {
  const std::string& text = status.error_message();
  if (absl::StrContains(text, "permission denied")) {
    // A narrower grant will not do: etcd wants the grants to cover all keys that the call asks for.
    const std::string prefix = checked_.where + "/";
    const std::string user = checked_.options.user.empty() ? "our user" : checked_.options.user;
    return Status(Code::kRefused, "permission denied: a role of " + user +
                                      " must grant read on the prefix " + prefix + " (keys from " +
                                      prefix + " to " + EndOfPrefix(prefix) + ")");
  }
  if (absl::StrContains(text, "user name is empty") && checked_.options.user.empty()) {
    return Status(Code::kRefused, "user name is empty: etcd wants a user (etcd-user)");
  }
  // This text is what gRPC 1.51 makes of a TLS alert that comes after the handshake.
  if (checked_.endpoints[endpoint_].https && absl::StrContains(text, "ndpoint read failed")) {
    return Status(Code::kRefused, RefusedByTls(checked_.options));
  }
  return FromEtcd(status);
}

}  // namespace podmirror::discovery
