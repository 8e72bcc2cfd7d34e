// What becomes of a watch that lists go well beside, and that is of no use: shown with an etcd that
// does what the test tells it to do.
#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>

#include "recorder.h"
#include "test_etcd.h"

namespace podmirror::discovery {
namespace {

using std::chrono::seconds;

constexpr seconds kNoticed{60};

class FakeEtcd final : public etcdserverpb::KV::Service, public etcdserverpb::Watch::Service {
 public:
  enum class Watches { kDie, kSilent };

  FakeEtcd() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<etcdserverpb::KV::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Watch::Service*>(this));
    server_ = builder.BuildAndStart();
    REQUIRE(server_ != nullptr);
  }
  ~FakeEtcd() override { server_->Shutdown(std::chrono::system_clock::now()); }

  void PutRecord(int number) {
    absl::MutexLock lock(&mutex_);
    records_[Key(number)] = {PodJson(number), ++revision_};
  }
  void SetWatches(Watches watches) { watches_ = watches; }
  EtcdOptions options() const {
    EtcdOptions options;
    options.endpoints = {"http://127.0.0.1:" + std::to_string(port_)};
    return options;
  }

 private:
  struct Record {
    std::string value;
    std::int64_t revision;
  };

  grpc::Status Range(grpc::ServerContext*, const etcdserverpb::RangeRequest* request,
                     etcdserverpb::RangeResponse* response) override {
    absl::MutexLock lock(&mutex_);
    Head(response->mutable_header());
    response->set_count(static_cast<std::int64_t>(records_.size()));
    if (request->count_only()) return grpc::Status::OK;
    for (const auto& [key, record] : records_) {
      mvccpb::KeyValue& kv = *response->add_kvs();
      kv.set_key(key);
      kv.set_value(record.value);
      kv.set_mod_revision(record.revision);
    }
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<etcdserverpb::WatchResponse,
                                              etcdserverpb::WatchRequest>* stream) override {
    etcdserverpb::WatchRequest request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    etcdserverpb::WatchResponse created;
    {
      absl::MutexLock lock(&mutex_);
      Head(created.mutable_header());
    }
    created.set_created(true);
    stream->Write(created);
    if (watches_ == Watches::kDie) {
      return {grpc::StatusCode::UNAVAILABLE, "the client connection is closing"};
    }
    while (stream->Read(&request)) {  // until the client is done
    }
    return grpc::Status::OK;
  }

  void Head(etcdserverpb::ResponseHeader* header) const {
    header->set_cluster_id(7);
    header->set_revision(revision_);
  }

  std::atomic<Watches> watches_ = Watches::kDie;
  absl::Mutex mutex_;
  std::map<std::string, Record> records_;
  std::int64_t revision_ = 1;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_CASE("v3: a watch that dies again and again is told, until one lives") {
  FakeEtcd etcd;
  telemetry::Metrics metrics;
  etcd.PutRecord(1);
  Running source(
      NewEtcdV3Source(etcd.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }, kNoticed));
  CHECK(source.seen().errors[0] ==
        "the watch fails again and again: the client connection is closing");
  // What the lists say counts all the same, and does not make it look as if all were in order.
  etcd.PutRecord(2);
  REQUIRE(source.WaitFor(
      [](const Seen& seen) {
        return seen.names() == Names{"relay-1", "relay-2"} && seen.errors.size() >= 2;
      },
      kNoticed));
  const int answers = source.seen().answers;
  CHECK_FALSE(source.WaitFor(
      [&](const Seen& seen) { return seen.answers > answers || seen.errors.size() > 2; },
      seconds(6)));

  etcd.SetWatches(FakeEtcd::Watches::kSilent);
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }, kNoticed));
  CHECK(source.seen().errors.size() == 2);
}

TEST_CASE("v3: a watch that is open and brings nothing is found out by counting") {
  FakeEtcd etcd;
  etcd.SetWatches(FakeEtcd::Watches::kSilent);
  telemetry::Metrics metrics;
  etcd.PutRecord(1);
  Running source(
      NewEtcdV3Source(etcd.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"relay-1"}));
  etcd.PutRecord(2);
  REQUIRE(source.WaitForNames({"relay-1", "relay-2"}, kNoticed));
}

}  // namespace
}  // namespace podmirror::discovery
