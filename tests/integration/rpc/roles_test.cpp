// Who may do what by gRPC: each method against each verb, and nothing beside it.
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>

#include <catch2/catch.hpp>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "certs/test_rules.h"
#include "grpc/health.pb.h"
#include "grpc/reflection.pb.h"
#include "hellorpc/hellorpc.grpc.pb.h"
#include "integration/held.h"
#include "integration/rpc/daemon.h"
#include "podmirror/v1/cache.grpc.pb.h"
#include "podmirror/v1/follow.grpc.pb.h"

namespace podmirror::rpc {
namespace {

using testing::GuardBy;
using testing::RoleFor;
using testing::RoleForEachVerb;
using testing::TestDir;
using trust::Verb;

// A client that shows a token; an empty one: none.
struct Client {
  Client(const Daemon& daemon, std::string shown) : token(std::move(shown)) {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel = grpc::CreateCustomChannel(daemon.address(), grpc::InsecureChannelCredentials(), args);
    cache = v1::Cache::NewStub(channel);
    sync = hellorpc::Sync::NewStub(channel);
    follow = v1::Follow::NewStub(channel);
  }

  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }
  grpc::Status Get(std::int32_t type, const std::string& key, std::string* seen) const {
    v1::GetRequest request;
    request.add_keys()->set_type(type);
    request.mutable_keys(0)->set_key(key);
    v1::GetResponse response;
    grpc::Status status = cache->Get(Context().get(), request, &response);
    *seen += response.DebugString();
    return status;
  }
  grpc::Status Set(std::int32_t type, const std::string& key) const {
    v1::SetRequest request;
    auto* item = request.add_items();
    item->set_type(type);
    item->set_key(key);
    item->set_value("mine");
    v1::SetResponse response;
    return cache->Set(Context().get(), request, &response);
  }
  grpc::Status Delete(std::int32_t type, const std::string& key) const {
    v1::DeleteRequest request;
    request.add_items()->set_type(type);
    request.mutable_items(0)->set_key(key);
    v1::DeleteResponse response;
    return cache->Delete(Context().get(), request, &response);
  }
  grpc::Status Touch(std::int32_t type, const std::string& key) const {
    v1::TouchRequest request;
    auto* item = request.add_items();
    item->set_type(type);
    item->set_key(key);
    item->set_ttl_ms(1000);
    v1::TouchResponse response;
    return cache->Touch(Context().get(), request, &response);
  }
  grpc::Status DeletePrefix(std::int32_t type, const std::string& prefix) const {
    v1::DeletePrefixRequest request;
    request.set_type(type);
    request.set_prefix(prefix);
    v1::DeleteResponse response;
    return cache->DeletePrefix(Context().get(), request, &response);
  }
  grpc::Status GetAll(const std::vector<std::int32_t>& types, std::string* seen) const {
    v1::GetAllRequest request;
    for (const std::int32_t type : types) request.add_types(type);
    const auto context = Context();
    const auto reader = cache->GetAll(context.get(), request);
    v1::GetAllResponse response;
    while (reader->Read(&response)) *seen += response.DebugString();
    return reader->Finish();
  }
  // Reads until it is synced, then hangs up: OK when it came so far.
  grpc::Status Watch(const std::vector<std::int32_t>& types, std::string* seen) const {
    v1::WatchRequest request;
    request.set_initial(true);
    for (const std::int32_t type : types) request.add_types(type);
    const auto context = Context();
    const auto reader = cache->Watch(context.get(), request);
    v1::WatchResponse response;
    while (reader->Read(&response)) {
      *seen += response.DebugString();
      for (const v1::WatchEvent& event : response.events()) {
        if (event.kind() == v1::WatchEvent::KIND_SYNCED) return grpc::Status::OK;
      }
    }
    return reader->Finish();
  }
  // Reads until its first State, then hangs up: OK when it came so far.
  grpc::Status Changes(const v1::ChangesRequest& request, std::string* seen) const {
    const auto context = Context();
    const auto reader = follow->Changes(context.get(), request);
    v1::ChangesResponse response;
    while (reader->Read(&response)) {
      *seen += response.entries();
      if (response.has_state()) return grpc::Status::OK;
    }
    return reader->Finish();
  }
  // An empty key stands for none.
  grpc::Status Sync(const std::string& method, std::int32_t type, const std::string& key,
                    std::string* seen) const {
    hellorpc::SyncRequest request;
    hellorpc::SyncResponse response;
    auto* data = request.add_data();
    data->set_type(type);
    if (!key.empty()) (*data->mutable_data())[key] = "mine";
    const auto context = Context();
    grpc::Status status = method == "Get"   ? sync->Get(context.get(), request, &response)
                          : method == "Set" ? sync->Set(context.get(), request, &response)
                                            : sync->GetAll(context.get(), request, &response);
    *seen += response.DebugString();
    return status;
  }
  // One of the two that are open to tools: `name` with an empty request.
  template <typename Request, typename Response>
  grpc::Status Bare(const char* name) const {
    const grpc::internal::RpcMethod method(name, grpc::internal::RpcMethod::NORMAL_RPC);
    Response response;
    return grpc::internal::BlockingUnaryCall<Request, Response>(
        channel.get(), method, Context().get(), Request(), &response);
  }

  const std::string token;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Cache::Stub> cache;
  std::unique_ptr<hellorpc::Sync::Stub> sync;
  std::unique_ptr<v1::Follow::Stub> follow;
};

struct Row {
  std::string name;
  std::string verb;  // "open": without a token, too; "known": with any
  std::function<grpc::Status(const Client&)> call;
  grpc::StatusCode done = grpc::StatusCode::OK;
};

std::vector<Row> Matrix() {
  const auto sync = [](const std::string& method, const std::string& key) {
    return [method, key](const Client& client) {
      std::string seen;
      return client.Sync(method, 1, key, &seen);
    };
  };
  using Health = grpc::health::v1::HealthCheckRequest;
  using HealthAnswer = grpc::health::v1::HealthCheckResponse;
  using Reflection = grpc::reflection::v1alpha::ServerReflectionRequest;
  using ReflectionAnswer = grpc::reflection::v1alpha::ServerReflectionResponse;
  return {
      {"Cache/Get", "read",
       [](const Client& client) {
         std::string seen;
         return client.Get(1, "k", &seen);
       }},
      {"Cache/Set", "write", [](const Client& client) { return client.Set(1, "k"); }},
      {"Cache/Delete", "delete", [](const Client& client) { return client.Delete(1, "x"); }},
      {"Cache/Touch", "write", [](const Client& client) { return client.Touch(1, "k"); }},
      {"Cache/DeletePrefix", "delete",
       [](const Client& client) { return client.DeletePrefix(1, "x"); }},
      {"Cache/GetAll", "read",
       [](const Client& client) {
         std::string seen;
         return client.GetAll({}, &seen);
       }},
      {"Cache/Watch", "watch",
       [](const Client& client) {
         std::string seen;
         return client.Watch({}, &seen);
       }},
      {"Follow/Changes", "watch",
       [](const Client& client) {
         std::string seen;
         return client.Changes({}, &seen);
       }},
      {"Follow/CompareSums", "watch",
       [](const Client& client) {
         v1::Sums sums;
         return client.follow->CompareSums(client.Context().get(), {}, &sums);
       }},
      {"Follow/CompareEntries", "watch",
       [](const Client& client) {
         v1::OfferReply reply;
         return client.follow->CompareEntries(client.Context().get(), {}, &reply);
       }},
      {"Follow/Copy", "watch",
       [](const Client& client) {
         v1::FetchReply reply;
         return client.follow->Copy(client.Context().get(), {}, &reply);
       }},
      {"Sync/Get", "read", sync("Get", "k")},
      {"Sync/Set", "write", sync("Set", "k")},
      {"Sync/GetAll", "read", sync("GetAll", "")},
      {"reflection v1", "status",
       [](const Client& client) {
         return client.Bare<Reflection, ReflectionAnswer>(
             "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
       }},
      {"reflection v1alpha", "status",
       [](const Client& client) {
         return client.Bare<Reflection, ReflectionAnswer>(
             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
       }},
      {"health", "open",
       [](const Client& client) {
         return client.Bare<Health, HealthAnswer>("/grpc.health.v1.Health/Check");
       }},
      {"no method", "known",
       [](const Client& client) {
         return client.Bare<Health, HealthAnswer>("/podmirror.v1.Cache/Nothing");
       },
       grpc::StatusCode::UNIMPLEMENTED},
  };
}

std::unique_ptr<Daemon> ReadyWith(const trust::Guard& guard) {
  auto daemon = std::make_unique<Daemon>(DaemonOptions{.name = "a", .guard = &guard});
  daemon->SetPeers({});
  REQUIRE(Eventually([&] { return daemon->ready(); }));
  return daemon;
}

TEST_CASE("roles: each method asks for its verb, and for no other") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleForEachVerb());
  const auto daemon = ReadyWith(*guard);
  for (const Row& row : Matrix()) {
    INFO(row.name);
    const auto for_nobody = row.verb == "open" ? row.done : grpc::StatusCode::UNAUTHENTICATED;
    CHECK(row.call(Client(*daemon, "")).error_code() == for_nobody);
    CHECK(row.call(Client(*daemon, "wrong")).error_code() == for_nobody);
    for (const Verb verb : trust::kVerbs) {
      const std::string name(trust::ToString(verb));
      INFO("as " << name);
      const bool allowed = row.verb == "open" || row.verb == "known" || row.verb == name;
      CHECK(row.call(Client(*daemon, name)).error_code() ==
            (allowed ? row.done : grpc::StatusCode::PERMISSION_DENIED));
    }
  }
}

TEST_CASE("roles: two tokens are none") {
  const TestDir dir;
  const auto guard = GuardBy(dir, RoleFor("a", "\"read\""));
  const auto daemon = ReadyWith(*guard);
  const Client client(*daemon, "a");
  const auto context = client.Context();
  context->AddMetadata("authorization", "Bearer a");
  v1::GetResponse response;
  const grpc::Status status = client.cache->Get(context.get(), v1::GetRequest(), &response);
  CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
  CHECK(status.error_message() == "there is more than one Authorization");
}

TEST_CASE("roles: who is limited to some keys never sees or changes others, by any method") {
  const TestDir dir;
  const auto guard =
      GuardBy(dir, RoleFor("a", R"("read", "write", "delete", "status", "metrics", "watch")",
                           "types = [1]\nprefix = \"a/\""));
  const auto daemon = ReadyWith(*guard);
  Cache& cache = daemon->cache();
  const std::vector<std::string> keys = {"a/x", "a/y", "a", "b", "b/a/x", "A/x", "ab/x"};
  const std::vector<std::int32_t> types = {1, 2, -1};
  std::uint64_t serial = 0;
  for (const std::int32_t type : types) {
    for (const std::string& key : keys) {
      if (type == 1 && key.starts_with("a/")) continue;
      cache.Merge(Entry::Make(type, key, "secret", {++serial, 1}), 0);
    }
  }
  const auto others = [&cache] { return HeldBeside(cache, 1, "a/"); };
  const auto before = others();
  const Client client(*daemon, "a");
  std::mt19937 random(20261201);
  int allowed = 0;
  for (int i = 0; i < 800; ++i) {
    const std::int32_t type = types[random() % types.size()];
    const std::string& key = keys[random() % keys.size()];
    std::string seen;
    const std::vector<std::function<grpc::Status()>> calls = {
        [&] { return client.Get(type, key, &seen); },
        [&] { return client.Set(type, key); },
        [&] { return client.Delete(type, key); },
        [&] { return client.Touch(type, key); },
        [&] { return client.DeletePrefix(type, key); },
        [&] { return client.DeletePrefix(type, ""); },
        [&] { return client.GetAll({}, &seen); },
        [&] { return client.GetAll({type}, &seen); },
        [&] { return client.Changes({}, &seen); },
        [&] {
          v1::ChangesRequest request;
          request.add_types(type);
          return client.Changes(request, &seen);
        },
        [&] {
          v1::FetchReply reply;
          grpc::Status status = client.follow->Copy(client.Context().get(), {}, &reply);
          seen += reply.DebugString();
          return status;
        },
        [&] { return client.Sync("Get", type, key, &seen); },
        [&] { return client.Sync("Set", type, key, &seen); },
        [&] { return client.Sync("GetAll", type, "", &seen); },
    };
    const std::size_t which = random() % calls.size();
    const grpc::Status status = calls[which]();
    INFO("call " << which << " type " << type << " key " << key);
    allowed += status.ok() ? 1 : 0;
    REQUIRE((status.ok() || status.error_code() == grpc::StatusCode::PERMISSION_DENIED));
    REQUIRE((seen + status.error_message()).find("secret") == std::string::npos);
    REQUIRE(others() == before);
  }
  CHECK(allowed > 50);
}

}  // namespace
}  // namespace podmirror::rpc
