// A daemon and a peer that speaks only hellorpc.Sync.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server_builder.h>

#include <catch2/catch.hpp>
#include <map>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "hellorpc/hellorpc.grpc.pb.h"
#include "integration/rpc/daemon.h"

namespace podmirror::rpc {
namespace {

// What such services are: a map behind three calls, with gRPC's default limits.
class LegacyPod final : public hellorpc::Sync::Service {
 public:
  using Data = std::map<std::int32_t, std::map<std::string, std::string>>;

  explicit LegacyPod(int port = 0) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~LegacyPod() override {
    Block(false);
    server_->Shutdown(std::chrono::system_clock::now());
  }

  grpc::Status Get(grpc::ServerContext*, const hellorpc::SyncRequest*,
                   hellorpc::SyncResponse*) override {
    return grpc::Status::OK;
  }
  grpc::Status Set(grpc::ServerContext*, const hellorpc::SyncRequest* request,
                   hellorpc::SyncResponse* response) override {
    absl::MutexLock lock(&mu_);
    while (blocked_) unblocked_.Wait(&mu_);
    for (const auto& data : request->data()) {
      for (const auto& [key, value] : data.data()) data_[data.type()][key] = value;
    }
    *response->mutable_data() = request->data();
    return grpc::Status::OK;
  }
  grpc::Status GetAll(grpc::ServerContext*, const hellorpc::SyncRequest*,
                      hellorpc::SyncResponse* response) override {
    absl::MutexLock lock(&mu_);
    while (blocked_) unblocked_.Wait(&mu_);
    for (const auto& [type, values] : data_) {
      auto* data = response->add_data();
      data->set_type(type);
      data->mutable_data()->insert(values.begin(), values.end());
    }
    return grpc::Status::OK;
  }

  void Put(std::int32_t type, const std::string& key, const std::string& value) {
    absl::MutexLock lock(&mu_);
    data_[type][key] = value;
  }
  Data data() const {
    absl::MutexLock lock(&mu_);
    return data_;
  }
  // Set and GetAll answer only when this is over.
  void Block(bool blocked) {
    absl::MutexLock lock(&mu_);
    blocked_ = blocked;
    if (!blocked) unblocked_.SignalAll();
  }

  PodRecord record() const {
    PodRecord record;
    record.uid = "uid-legacy";
    record.name = "legacy";
    record.ip = "127.0.0.1";
    record.port = static_cast<std::uint16_t>(port_);
    record.phase = "Running";
    record.ready = true;
    return record;
  }

 private:
  int port_ = 0;
  mutable absl::Mutex mu_;
  absl::CondVar unblocked_;
  bool blocked_ ABSL_GUARDED_BY(mu_) = false;
  Data data_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<grpc::Server> server_;
};

bool CountedSkipped(Daemon& daemon) {
  const std::string name = "\npodmirror_legacy_values_skipped_total ";
  const std::string metrics = daemon.metrics().Render();
  const std::size_t at = metrics.find(name);
  return at != std::string::npos && metrics[at + name.size()] != '0';
}

TEST_CASE("a daemon starts from a legacy peer and feeds it") {
  LegacyPod legacy;
  legacy.Put(1, "old", "value");
  legacy.Put(-7, "other", "type");
  legacy.Put(1, "", "no key");
  Daemon a({"a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.ready(); }));
  CHECK(a.Value("old") == "value");
  CHECK(a.Value("other", -7) == "type");
  CHECK(a.PeerState() == "legacy");
  CHECK(a.cache().Peek(1, "old")->version() == LegacyVersion("value"));
  CHECK(CountedSkipped(a));

  const auto outcome = a.Put("new", "from-a");
  REQUIRE(outcome);
  CHECK(outcome->met);
  CHECK(outcome->acked == 1);
  CHECK(legacy.data()[1]["new"] == "from-a");

  // A value that hellorpc cannot carry stays here, and later ones still go out.
  REQUIRE(a.Put("binary", "\xff", {sync::AckLevel::kLocal, 0}));
  CHECK(a.Put("after", "v")->met);
  CHECK(legacy.data()[1].count("binary") == 0);
  CHECK(legacy.data()[1]["after"] == "v");
}

TEST_CASE("a value too large for a legacy peer does not hold up others") {
  LegacyPod legacy;
  Daemon a({.name = "a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.ready(); }));
  const auto large = a.Put("large", std::string(5 << 20, 'x'), {sync::AckLevel::kAll, 10'000});
  REQUIRE(large);
  CHECK(large->acked == 0);
  CHECK(large->peers == 0);
  const auto outcome = a.Put("small", "v", {sync::AckLevel::kAll, 10'000});
  REQUIRE(outcome);
  CHECK(outcome->met);
  CHECK(legacy.data()[1]["small"] == "v");
  CHECK(legacy.data()[1].count("large") == 0);
  CHECK(a.PeerState() == "legacy");
}

TEST_CASE("many values at once go in requests that a legacy peer takes") {
  LegacyPod legacy;
  Daemon a({"a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.ready(); }));
  std::vector<sync::WriteItem> items;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) keys.push_back("k" + std::to_string(i));
  const std::string value(400'000, 'v');
  for (const std::string& key : keys) items.push_back({1, key, value, false, 0});
  std::promise<sync::WriteOutcome> outcome;
  const auto refusal = a.driver().Write(items, {sync::AckLevel::kAll, 10'000},
                                        [&](const sync::WriteOutcome& o) { outcome.set_value(o); });
  REQUIRE(refusal == sync::WriteRefusal::kNone);
  CHECK(outcome.get_future().get().met);
  CHECK(legacy.data()[1].size() == 40);
}

TEST_CASE("a legacy peer that comes back empty is filled again") {
  auto legacy = std::make_unique<LegacyPod>();
  const PodRecord record = legacy->record();
  Daemon a({"a"});
  a.SetPeers({record});
  REQUIRE(Eventually([&] { return a.ready(); }));
  REQUIRE(a.Put("k", "v")->met);
  legacy.reset();
  REQUIRE(Eventually([&] { return a.PeerState() == "connecting"; }));
  legacy = std::make_unique<LegacyPod>(record.port);
  REQUIRE(Eventually([&] { return a.PeerState() == "legacy"; }));
  CHECK(Eventually([&] { return legacy->data()[1]["k"] == "v"; }));
}

TEST_CASE("a copy that takes longer than the longest silence still arrives") {
  LegacyPod legacy;
  legacy.Put(1, "k", "v");
  legacy.Block(true);
  Daemon a({"a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.PeerState() == "legacy"; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(sync::kSilenceMs + 1000));
  CHECK(a.PeerState() == "legacy");
  CHECK_FALSE(a.ready());
  legacy.Block(false);
  REQUIRE(Eventually([&] { return a.ready(); }));
  CHECK(a.Value("k") == "v");
}

TEST_CASE("a legacy peer that hangs is given up") {
  LegacyPod legacy;
  Daemon a({"a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.ready(); }));
  legacy.Block(true);
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = a.Put("k", "v", {sync::AckLevel::kAll, 60'000});
  REQUIRE(outcome);
  // Set may take 5 s, and a GetAll that was under way before it 10 s.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
  CHECK_FALSE(outcome->met);
  CHECK(outcome->pending == std::vector<std::string>{"legacy"});
  legacy.Block(false);
  CHECK(Eventually([&] { return legacy.data()[1]["k"] == "v"; }));
}

TEST_CASE("a daemon stops while a legacy peer hangs") {
  LegacyPod legacy;
  Daemon a({"a"});
  a.SetPeers({legacy.record()});
  REQUIRE(Eventually([&] { return a.ready(); }));
  legacy.Block(true);
  REQUIRE(a.Put("k", "v", {sync::AckLevel::kLocal, 0}));
  CHECK(a.Stop());
}

TEST_CASE("a pod that speaks neither is no peer, and says so") {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  grpc::CallbackGenericService none;  // UNIMPLEMENTED for every method
  builder.RegisterCallbackGenericService(&none);
  const auto server = builder.BuildAndStart();
  Daemon a({"a"});
  PodRecord record;
  record.uid = "uid-x";
  record.name = "x";
  record.ip = "127.0.0.1";
  record.port = static_cast<std::uint16_t>(port);
  a.SetPeers({record});
  CHECK(Eventually([&] { return a.PeerError().starts_with("Get: "); }));
  CHECK_FALSE(a.PeerState() == "legacy");
}

}  // namespace
}  // namespace podmirror::rpc
