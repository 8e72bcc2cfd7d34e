// Writes on a condition over gRPC, and between real daemons.
#include <grpcpp/create_channel.h>

#include <catch2/catch.hpp>
#include <future>
#include <string>

#include "integration/rpc/daemon.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::rpc {
namespace {

struct Client {
  explicit Client(const Daemon& daemon)
      : cache(v1::Cache::NewStub(
            grpc::CreateChannel(daemon.address(), grpc::InsecureChannelCredentials()))) {}

  grpc::Status Set(const v1::SetRequest& request, v1::SetResponse* response) {
    grpc::ClientContext context;
    return cache->Set(&context, request, response);
  }
  // On this version, or on nothing where it is empty.
  grpc::Status SetIf(const std::string& version, v1::SetResponse* response,
                     const std::string& value = "v") {
    v1::SetRequest request;
    v1::SetItem* item = request.add_items();
    item->set_type(1);
    item->set_key("k");
    item->set_value(value);
    if (version.empty()) {
      item->set_if_absent(true);
    } else {
      item->set_if_version(version);
    }
    return Set(request, response);
  }
  grpc::Status DeleteIf(const std::string& version) {
    v1::DeleteRequest request;
    v1::DeleteItem* item = request.add_items();
    item->set_type(1);
    item->set_key("k");
    item->set_if_version(version);
    v1::DeleteResponse response;
    grpc::ClientContext context;
    return cache->Delete(&context, request, &response);
  }

  std::unique_ptr<v1::Cache::Stub> cache;
};

struct Two {
  Two() { REQUIRE(Connect({&a, &b})); }

  Daemon a{{"a"}};
  Daemon b{{"b"}};
};

TEST_CASE_METHOD(Two, "a condition over gRPC") {
  Client client(a);
  v1::SetResponse done;
  REQUIRE(client.SetIf("", &done).ok());
  CHECK(done.ack().met());
  CHECK(done.ack().peers() == 1);
  CHECK(b.Value("k") == "v");

  v1::SetResponse ignored;
  const grpc::Status refused = client.SetIf("", &ignored, "other");
  CHECK(refused.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(refused.error_message() == "precondition-failed: " + done.version());
  CHECK(a.Value("k") == "v");

  Client other(b);
  CHECK(other.DeleteIf(Version{1, 1}.ToString()).error_code() ==
        grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(other.DeleteIf(done.version()).ok());
  CHECK_FALSE(a.Value("k"));
  CHECK(client.SetIf(done.version(), &ignored).error_message() == "precondition-failed: none");
}

TEST_CASE_METHOD(Two, "a large value is judged as any other is") {
  Client client(a);
  v1::SetResponse done;
  REQUIRE(client.SetIf("", &done, std::string(500'000, 'v')).ok());
  CHECK(done.ack().met());
  CHECK(b.Value("k") == std::string(500'000, 'v'));
}

TEST_CASE_METHOD(Two, "of two that race one is done, and the other is told who won") {
  Client one(a);
  Client two(b);
  v1::SetResponse last;
  REQUIRE(one.SetIf("", &last).ok());
  std::string version = last.version();
  int conflicts = 0;
  // How often they meet is chance.
  const bool met = Eventually([&] {
    v1::SetResponse by_one;
    v1::SetResponse by_two;
    auto first = std::async(std::launch::async, [&] { return one.SetIf(version, &by_one); });
    const grpc::Status second = two.SetIf(version, &by_two);
    const grpc::Status status = first.get();
    REQUIRE(status.ok() != second.ok());
    const grpc::Status& lost = status.ok() ? second : status;
    version = status.ok() ? by_one.version() : by_two.version();
    REQUIRE((status.ok() ? by_one : by_two).ack().met());
    if (lost.error_code() == grpc::StatusCode::ABORTED) {
      ++conflicts;
      CHECK(lost.error_message() == "conflict: " + version);
    } else {
      CHECK(lost.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
    }
    return conflicts > 0;
  });
  CHECK(met);
}

TEST_CASE("a condition that cannot be is refused, and nothing is applied") {
  Daemon a({"a"});
  a.SetPeers({});
  REQUIRE(Eventually([&] { return a.ready(); }));
  Client client(a);
  const std::string version = Version{1, 2}.ToString();
  v1::SetRequest request;
  v1::SetItem* item = request.add_items();
  item->set_key("k");
  item->set_if_absent(true);
  std::string why;
  SECTION("two items") {
    request.add_items()->set_key("l");
    why = "a condition is for a request of one item";
  }
  SECTION("both conditions") {
    item->set_if_version(version);
    why = "items[0]: both if_version and if_absent";
  }
  SECTION("no version") {
    item->set_if_absent(false);
    item->set_if_version(version + "0");
    why = "items[0]: if_version is no version";
  }
  SECTION("capitals") {
    item->set_if_absent(false);
    item->set_if_version("000000000000000A-0000000000000001");
    why = "items[0]: if_version is no version";
  }
  SECTION("its ack without one") {
    item->set_if_absent(false);
    request.mutable_options()->set_ack(v1::ACK_LEVEL_CONDITION);
    why = "options: this ack is for a write on a condition";
  }
  SECTION("another ack") {
    request.mutable_options()->set_ack(v1::ACK_LEVEL_LOCAL);
    why = "options: with a condition ack is always all";
  }
  v1::SetResponse ignored;
  const grpc::Status status = client.Set(request, &ignored);
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(status.error_message() == why);
  CHECK_FALSE(a.Value("k", 0));
}

}  // namespace
}  // namespace podmirror::rpc
