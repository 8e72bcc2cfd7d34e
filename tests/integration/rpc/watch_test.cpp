// podmirror.v1.Cache/Watch, as a client sees it.
#include <grpcpp/create_channel.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "integration/rpc/daemon.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::rpc {
namespace {

std::unique_ptr<Daemon> Ready(DaemonOptions options = {}) {
  options.name = "a";
  auto daemon = std::make_unique<Daemon>(options);
  daemon->SetPeers({});
  REQUIRE(Eventually([&] { return daemon->ready(); }));
  return daemon;
}

// One watch. Its waits end after 20 s.
class Watch {
 public:
  Watch(const Daemon& daemon, const v1::WatchRequest& request) {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetMaxReceiveMessageSize(-1);
    stub_ = v1::Cache::NewStub(
        grpc::CreateCustomChannel(daemon.address(), grpc::InsecureChannelCredentials(), args));
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    reader_ = stub_->Watch(&context_, request);
  }
  ~Watch() { context_.TryCancel(); }

  // The next event; one of no kind when there is none any more.
  v1::WatchEvent Next() {
    while (at_ == response_.events_size()) {
      at_ = 0;
      if (!reader_->Read(&response_)) return {};
    }
    return response_.events(at_++);
  }
  grpc::Status Finish() {
    while (Next().kind() != v1::WatchEvent::KIND_UNSPECIFIED) {
    }
    return reader_->Finish();
  }

 private:
  std::unique_ptr<v1::Cache::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
  v1::WatchResponse response_;
  int at_ = 0;
};

void Put(Daemon& daemon, const std::string& key, const std::string& value, WallMs expires_at = 0,
         std::int32_t type = 1) {
  static std::uint64_t hlc = HlcOf(Env::Real().now().wall);
  daemon.cache().Merge(Entry::Make(type, key, value, {++hlc, 7}, expires_at), 0);
}

TEST_CASE("watch: the state, then each change, with its id") {
  const auto daemon = Ready();
  Put(*daemon, "a/old", "o");
  Put(*daemon, "b/old", "o");
  v1::WatchRequest request;
  request.set_initial(true);
  request.add_types(1);
  request.set_prefix("a/");
  Watch watch(*daemon, request);
  v1::WatchEvent event = watch.Next();
  CHECK(event.kind() == v1::WatchEvent::KIND_PUT);
  CHECK(event.entry().key() == "a/old");
  CHECK(event.entry().value() == "o");
  CHECK(watch.Next().kind() == v1::WatchEvent::KIND_SYNCED);
  const WallMs expires_at = Env::Real().now().wall + 300;
  Put(*daemon, "a/other type", "n", 0, 2);
  Put(*daemon, "a/new", "n", expires_at);
  event = watch.Next();
  CHECK(event.kind() == v1::WatchEvent::KIND_PUT);
  CHECK(event.entry().key() == "a/new");
  CHECK(event.entry().ttl_ms() > 0);
  const std::string version = event.entry().version();
  const std::string id = event.id();
  event = watch.Next();
  CHECK(event.kind() == v1::WatchEvent::KIND_DELETE);
  CHECK(event.reason() == v1::WatchEvent::REASON_EXPIRED);
  CHECK(event.entry().key() == "a/new");
  CHECK(event.entry().version() == version);

  request.set_since(id);
  Watch resumed(*daemon, request);
  CHECK(resumed.Next().kind() == v1::WatchEvent::KIND_DELETE);
  CHECK(resumed.Next().kind() == v1::WatchEvent::KIND_SYNCED);
  request.set_since("of another daemon");
  Watch anew(*daemon, request);
  CHECK(anew.Next().kind() == v1::WatchEvent::KIND_RESET);
  CHECK(anew.Next().entry().key() == "a/old");
}

TEST_CASE("watch: many changes come in order, and values of any size") {
  const auto daemon = Ready();
  Watch watch(*daemon, {});
  CHECK(watch.Next().kind() == v1::WatchEvent::KIND_SYNCED);
  for (int i = 0; i < 5000; ++i) Put(*daemon, "k" + std::to_string(i), "v");
  Put(*daemon, "large", std::string(5 << 20, 'x'));
  int in_order = 0;
  for (int i = 0; i < 5000; ++i) in_order += watch.Next().entry().key() == "k" + std::to_string(i);
  CHECK(in_order == 5000);
  CHECK(watch.Next().entry().value().size() == 5 << 20);
}

TEST_CASE("watch: there are as many as allowed, and one that ends makes room") {
  const auto daemon = Ready({.max_watchers = 1});
  {
    Watch watch(*daemon, {});
    CHECK(watch.Next().kind() == v1::WatchEvent::KIND_SYNCED);
    Watch more(*daemon, {});
    CHECK(more.Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  CHECK(Eventually([&] { return daemon->feeds().watchers() == 0; }));
  Watch watch(*daemon, {});
  CHECK(watch.Next().kind() == v1::WatchEvent::KIND_SYNCED);
}

TEST_CASE("watch: it ends with the daemon") {
  const auto daemon = Ready();
  Watch watch(*daemon, {});
  CHECK(watch.Next().kind() == v1::WatchEvent::KIND_SYNCED);
  CHECK(daemon->Stop());
  CHECK(watch.Finish().error_code() == grpc::StatusCode::UNAVAILABLE);
}

TEST_CASE("watch: a daemon without its data tells nothing") {
  Daemon daemon({.name = "a"});
  Watch watch(daemon, {});
  CHECK(watch.Finish().error_code() == grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace podmirror::rpc
