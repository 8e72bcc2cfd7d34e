// A daemon as a client sees it: podmirror.v1.Cache on a port of loopback, that answers, refuses or
// hangs as the test says, in plain or, with credentials, in TLS. What it holds is its own.
// Thread safety: all calls from any thread, Stop and Start from one.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "integration/eventually.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::client {

class FakeCache final : private v1::Cache::Service {
 public:
  enum class Mode { kReady, kNotReady, kDraining, kOverloaded, kHang };

  using ServerCredentials = std::shared_ptr<grpc::ServerCredentials>;

  // Who calls, as the call shows it.
  struct Caller {
    std::string authorization;       // the metadata
    std::vector<std::string> names;  // in the certificate
    std::string asked_for;           // the daemon's name or address
  };

  explicit FakeCache(ServerCredentials credentials = grpc::InsecureServerCredentials())
      : credentials_(std::move(credentials)) {
    Start();
  }
  ~FakeCache() override { Stop(); }

  void Start() {
    grpc::ServerBuilder builder;
    int selected = 0;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), credentials_, &selected);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(64 * 1024 * 1024);
    // Or it would sometimes take the default of 10 s to stop.
    builder.SetSyncServerOption(grpc::ServerBuilder::CQ_TIMEOUT_MSEC, 100);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (!server_ || selected <= 0) throw std::runtime_error("cannot listen");
    port_ = selected;
  }
  // What runs has so long to end.
  void Stop(std::chrono::milliseconds grace = {}) {
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + grace);
    server_.reset();
  }
  // Ends and comes back with other credentials.
  void RestartWith(ServerCredentials credentials) {
    Stop();
    credentials_ = std::move(credentials);
    Start();
  }

  int port() const { return port_; }

  std::atomic<Mode> mode{Mode::kReady};
  std::atomic<int> probes{0};
  std::atomic<int> gets{0};
  std::atomic<int> sets{0};
  std::atomic<int> deletes{0};
  std::atomic<int> streams{0};
  std::atomic<int> hanging{0};
  std::atomic<int> messages_sent{0};
  // Called for each Set that is not refused, before it is answered; what it returns is the answer.
  std::function<grpc::Status()> on_set = [] { return grpc::Status::OK; };
  // GetAll: so many messages of so many entries of so many bytes; then it breaks off, if told so.
  int messages = 0, entries_per_message = 0, entry_bytes = 1;
  std::atomic<bool> break_off{false};
  std::atomic<bool> hang_after_first{false};  // of these messages

  // Calls that it got, also those that it refused.
  int calls() const { return probes + gets + sets + deletes + streams; }

  // Asked about each call first; what is not OK is the answer.
  void AdmitIf(std::function<grpc::Status(const Caller&)> admit) {
    absl::MutexLock lock(&mu_);
    admit_ = std::move(admit);
  }
  Caller LastCaller() {
    absl::MutexLock lock(&mu_);
    return last_caller_;
  }

  std::string Value(std::int32_t type, const std::string& key) {
    absl::MutexLock lock(&mu_);
    return data_[{type, key}];
  }
  v1::WriteOptions LastOptions() {
    absl::MutexLock lock(&mu_);
    return last_options_;
  }

 private:
  static Caller CallerOf(const grpc::ServerContext& context) {
    Caller caller;
    for (const auto& [key, value] : context.client_metadata()) {
      if (key == "authorization") caller.authorization += std::string(value.data(), value.size());
    }
    for (const grpc::string_ref& name :
         context.auth_context()->FindPropertyValues("x509_subject_alternative_name")) {
      caller.names.emplace_back(name.data(), name.size());
    }
    const grpc::string_ref authority = context.ExperimentalGetAuthority();
    caller.asked_for = {authority.data(), authority.size()};
    return caller;
  }

  grpc::Status Refusal(grpc::ServerContext* context, bool read) {
    {
      absl::MutexLock lock(&mu_);
      last_caller_ = CallerOf(*context);
      if (grpc::Status status = admit_(last_caller_); !status.ok()) return status;
    }
    hanging += mode == Mode::kHang ? 1 : 0;
    while (mode == Mode::kHang && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    switch (mode.load()) {
      case Mode::kReady:
        return grpc::Status::OK;
      case Mode::kNotReady:
        return {grpc::StatusCode::UNAVAILABLE, "not-ready"};
      case Mode::kDraining:
        if (read) return grpc::Status::OK;
        return {grpc::StatusCode::UNAVAILABLE, "draining"};
      case Mode::kOverloaded:
        return {grpc::StatusCode::RESOURCE_EXHAUSTED, "overloaded"};
      case Mode::kHang:
        break;
    }
    return {grpc::StatusCode::CANCELLED, "hung"};
  }

  grpc::Status Get(grpc::ServerContext* context, const v1::GetRequest* request,
                   v1::GetResponse* response) override {
    ++(request->keys_size() == 0 ? probes : gets);
    if (grpc::Status status = Refusal(context, true); !status.ok()) return status;
    absl::MutexLock lock(&mu_);
    for (const v1::Key& key : request->keys()) {
      const auto at = data_.find({key.type(), key.key()});
      if (at == data_.end()) continue;
      v1::Entry* entry = response->add_entries();
      entry->set_type(key.type());
      entry->set_key(key.key());
      entry->set_value(at->second);
      entry->set_version("v");
      entry->set_ttl_ms(77);
    }
    return grpc::Status::OK;
  }

  grpc::Status Set(grpc::ServerContext* context, const v1::SetRequest* request,
                   v1::SetResponse* response) override {
    ++sets;
    if (grpc::Status status = Refusal(context, false); !status.ok()) return status;
    {
      absl::MutexLock lock(&mu_);
      last_options_ = request->options();
      for (const v1::SetItem& item : request->items()) {
        data_[{item.type(), item.key()}] = item.value();
      }
    }
    response->set_set(static_cast<std::uint32_t>(request->items_size()));
    response->set_version("v");
    response->mutable_ack()->set_required(v1::ACK_LEVEL_MAJORITY);
    response->mutable_ack()->set_peers(2);
    response->mutable_ack()->set_acked(1);
    response->mutable_ack()->add_pending("other");
    return on_set();
  }

  grpc::Status Delete(grpc::ServerContext* context, const v1::DeleteRequest* request,
                      v1::DeleteResponse* response) override {
    ++deletes;
    if (grpc::Status status = Refusal(context, false); !status.ok()) return status;
    absl::MutexLock lock(&mu_);
    for (const v1::DeleteItem& item : request->items()) data_.erase({item.type(), item.key()});
    response->set_deleted(static_cast<std::uint32_t>(request->items_size()));
    response->mutable_ack()->set_met(true);
    return grpc::Status::OK;
  }

  grpc::Status GetAll(grpc::ServerContext* context, const v1::GetAllRequest* request,
                      grpc::ServerWriter<v1::GetAllResponse>* writer) override {
    ++streams;
    if (grpc::Status status = Refusal(context, true); !status.ok()) return status;
    int number = 0;
    for (int i = 0; i < messages; ++i) {
      v1::GetAllResponse response;
      for (int k = 0; k < entries_per_message; ++k) {
        v1::Entry* entry = response.add_entries();
        entry->set_key(request->prefix() + std::to_string(number++));
        entry->set_value(std::string(static_cast<std::size_t>(entry_bytes), 'x'));
      }
      if (!writer->Write(response)) return {grpc::StatusCode::CANCELLED, "gone"};
      ++messages_sent;
      while (hang_after_first && !context->IsCancelled()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
    if (break_off) return {grpc::StatusCode::UNAVAILABLE, "broke off"};
    return grpc::Status::OK;
  }

  ServerCredentials credentials_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  absl::Mutex mu_;
  std::map<std::pair<std::int32_t, std::string>, std::string> data_ ABSL_GUARDED_BY(mu_);
  v1::WriteOptions last_options_ ABSL_GUARDED_BY(mu_);
  Caller last_caller_ ABSL_GUARDED_BY(mu_);
  std::function<grpc::Status(const Caller&)> admit_ ABSL_GUARDED_BY(mu_) = [](const Caller&) {
    return grpc::Status::OK;
  };
};

}  // namespace podmirror::client
