#include "rpc/health_service.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "grpc/health.pb.h"

namespace podmirror::rpc {
namespace {

using Request = grpc::health::v1::HealthCheckRequest;
using Response = grpc::health::v1::HealthCheckResponse;

bool IsKnown(std::string_view service) {
  constexpr std::array<std::string_view, 4> kKnown = {"", "podmirror.v1.Cache",
                                                      "podmirror.v1.Follow", "hellorpc.Sync"};
  return std::find(kKnown.begin(), kKnown.end(), service) != kKnown.end();
}

Response ResponseOf(bool serving) {
  Response response;
  response.set_status(serving ? Response::SERVING : Response::NOT_SERVING);
  return response;
}

}  // namespace

// A call of Watch. When a write is through, it writes what has changed meanwhile.
class HealthService::Watcher final : public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(const HealthService& service, std::shared_ptr<ServerCall> call, bool known)
      : service_(service), call_(std::move(call)), known_(known) {}

  void Tell() {
    {
      absl::MutexLock lock(&mu_);
      const auto status = !known_              ? Response::SERVICE_UNKNOWN
                          : service_.serving() ? Response::SERVING
                                               : Response::NOT_SERVING;
      if (writing_ || over_ || status == told_) return;
      writing_ = true;
      told_ = status;
      Response response;
      response.set_status(status);
      message_ = ToBytes(response);
    }
    call_->Write(message_, [self = shared_from_this()](bool ok) { self->OnWritten(ok); });
  }

  // The client is gone.
  void End() {
    absl::MutexLock lock(&mu_);
    over_ = true;
  }

 private:
  void OnWritten(bool ok) {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
    }
    if (ok) Tell();
  }

  const HealthService& service_;
  const std::shared_ptr<ServerCall> call_;
  const bool known_;
  absl::Mutex mu_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  Response::ServingStatus told_ ABSL_GUARDED_BY(mu_) = Response::UNKNOWN;
  grpc::ByteBuffer message_;  // of the write in flight
};

HealthService::HealthService(net::BulkThread& bulk) : bulk_(bulk) {}
HealthService::~HealthService() = default;

bool HealthService::serving() const {
  absl::MutexLock lock(&mu_);
  return serving_ && !left_;
}

void HealthService::AddTo(Methods& methods) {
  methods.try_emplace("/grpc.health.v1.Health/Check",
                      UnaryHandler(bulk_,
                                   [this](const std::shared_ptr<UnaryCall>& call) {
                                     Request request;
                                     if (const Status status = FromBytes(call->request(), &request);
                                         !status.ok()) {
                                       call->Fail(status);
                                     } else if (!IsKnown(request.service())) {
                                       call->Fail({Code::kNotFound, "no such service"});
                                     } else {
                                       call->Answer(ResponseOf(serving()));
                                     }
                                   }),
                      Method::Open::kToAnybody);
  methods.try_emplace(
      "/grpc.health.v1.Health/Watch",
      RequestHandler(bulk_, [this](const std::shared_ptr<ServerCall>& call,
                                   grpc::ByteBuffer& request) { Watch(call, request); }),
      Method::Open::kToAnybody);
}

void HealthService::Watch(const std::shared_ptr<ServerCall>& call, grpc::ByteBuffer& bytes) {
  Request request;
  if (const Status status = FromBytes(bytes, &request); !status.ok()) {
    call->Finish(status);
    return;
  }
  const auto watcher = std::make_shared<Watcher>(*this, call, IsKnown(request.service()));
  {
    absl::MutexLock lock(&mu_);
    std::erase_if(watchers_, [](const auto& weak) { return weak.expired(); });
    watchers_.push_back(watcher);
  }
  call->OnEnd([watcher](bool) { watcher->End(); });
  watcher->Tell();
}

void HealthService::SetServing(bool serving) {
  {
    absl::MutexLock lock(&mu_);
    serving_ = serving;
  }
  TellAll();
}

void HealthService::Leave() {
  {
    absl::MutexLock lock(&mu_);
    left_ = true;
  }
  TellAll();
}

void HealthService::TellAll() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& weak : watchers_) {
      if (auto watcher = weak.lock()) watchers.push_back(std::move(watcher));
    }
  }
  for (const auto& watcher : watchers) watcher->Tell();
}

}  // namespace podmirror::rpc
