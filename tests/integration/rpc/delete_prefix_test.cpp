// Deletes by prefix over gRPC that have to wait for the thread that looks for what they delete.
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <future>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "integration/rpc/daemon.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::rpc {
namespace {

using std::chrono::milliseconds;

// A ready daemon that holds "k", and whose looking thread stands still until Release.
struct Fixture {
  Fixture()
      : cache(v1::Cache::NewStub(
            grpc::CreateChannel(daemon.address(), grpc::InsecureChannelCredentials()))) {
    REQUIRE(Connect({&daemon}));
    REQUIRE(daemon.Put("k", "v"));
    daemon.scan().Post([this] {
      held.Notify();
      go_on.WaitForNotification();
    });
    held.WaitForNotification();
  }
  ~Fixture() { Release(); }

  void Release() {
    if (!go_on.HasBeenNotified()) go_on.Notify();
  }
  grpc::Status Delete(milliseconds patience = milliseconds(30'000)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    v1::DeletePrefixRequest request;
    request.set_type(1);
    v1::DeleteResponse response;
    return cache->DeletePrefix(&context, request, &response);
  }
  // As many as may wait, all waiting: one more has been refused.
  std::vector<std::future<grpc::Status>> DeleteAtOnce() {
    constexpr std::size_t kMayWait = 16;
    std::vector<std::future<grpc::Status>> calls;
    for (std::size_t i = 0; i <= kMayWait; ++i) {
      calls.push_back(std::async(std::launch::async, [this] { return Delete(); }));
    }
    REQUIRE(Eventually([&] { return std::any_of(calls.begin(), calls.end(), Ended); }));
    const auto one_too_many = std::find_if(calls.begin(), calls.end(), Ended);
    const grpc::Status refused = one_too_many->get();
    CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(refused.error_message() == "too-many-deletes");
    calls.erase(one_too_many);
    return calls;
  }
  static bool Ended(const std::future<grpc::Status>& call) {
    return call.wait_for(milliseconds(0)) == std::future_status::ready;
  }

  absl::Notification held;
  absl::Notification go_on;
  Daemon daemon{{"a"}};
  std::unique_ptr<v1::Cache::Stub> cache;
};

TEST_CASE("grpc: only so many deletes by prefix wait, and one too many is refused at once") {
  Fixture f;
  auto calls = f.DeleteAtOnce();
  CHECK(std::none_of(calls.begin(), calls.end(), Fixture::Ended));
  CHECK(f.daemon.Value("k") == "v");
  f.Release();
  for (auto& call : calls) CHECK(call.get().ok());
  CHECK_FALSE(f.daemon.Value("k"));
}

TEST_CASE("grpc: a delete by prefix whose caller has hung up while it waited deletes nothing") {
  Fixture f;
  CHECK(f.Delete(milliseconds(50)).error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  // What comes later on the same connection is answered after its end has been heard of.
  grpc::ClientContext context;
  v1::SetRequest request;
  v1::SetItem* item = request.add_items();
  item->set_type(1);
  item->set_key("k");
  item->set_value("written anew");
  v1::SetResponse response;
  REQUIRE(f.cache->Set(&context, request, &response).ok());
  f.Release();
  absl::Notification looked;
  f.daemon.scan().Post([&] { looked.Notify(); });
  looked.WaitForNotification();
  CHECK(f.daemon.Value("k") == "written anew");
}

TEST_CASE("grpc: a daemon that stops ends the deletes by prefix that wait, and deletes nothing") {
  Fixture f;
  auto calls = f.DeleteAtOnce();
  auto stopped = std::async(std::launch::async, [&] { return f.daemon.Stop(); });
  CHECK(Eventually([&] { return std::all_of(calls.begin(), calls.end(), Fixture::Ended); }));
  for (auto& call : calls) CHECK_FALSE(call.get().ok());
  f.Release();
  CHECK(stopped.get());
  CHECK(f.daemon.Value("k") == "v");
}

}  // namespace
}  // namespace podmirror::rpc
