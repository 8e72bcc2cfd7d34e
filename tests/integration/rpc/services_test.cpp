// podmirror.v1.Cache, hellorpc.Sync, health and reflection as clients see them.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "grpc/health.pb.h"
#include "grpc/reflection.pb.h"
#include "hellorpc/hellorpc.grpc.pb.h"
#include "integration/rpc/daemon.h"
#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::rpc {
namespace {

struct Client {
  explicit Client(const Daemon& daemon) {
    grpc::ChannelArguments args;
    args.SetMaxReceiveMessageSize(-1);
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel = grpc::CreateCustomChannel(daemon.address(), grpc::InsecureChannelCredentials(), args);
    cache = v1::Cache::NewStub(channel);
    sync = hellorpc::Sync::NewStub(channel);
  }

  grpc::Status Set(const v1::SetRequest& request, v1::SetResponse* response) {
    grpc::ClientContext context;
    return cache->Set(&context, request, response);
  }
  grpc::Status Delete(const v1::DeleteRequest& request, v1::DeleteResponse* response) {
    grpc::ClientContext context;
    return cache->Delete(&context, request, response);
  }
  grpc::Status Get(const v1::GetRequest& request, v1::GetResponse* response) {
    grpc::ClientContext context;
    return cache->Get(&context, request, response);
  }
  static constexpr std::size_t kLargeBytes = 1 << 20;
  // `largest`: the bytes of the largest message, without values over kLargeBytes.
  grpc::Status GetAll(const v1::GetAllRequest& request, std::vector<v1::Entry>* entries,
                      std::size_t* largest = nullptr) {
    grpc::ClientContext context;
    auto reader = cache->GetAll(&context, request);
    v1::GetAllResponse response;
    while (reader->Read(&response)) {
      std::size_t bytes = response.ByteSizeLong();
      for (const auto& entry : response.entries()) {
        if (entry.value().size() > kLargeBytes) bytes -= entry.value().size();
        entries->push_back(entry);
      }
      if (largest != nullptr) *largest = std::max(*largest, bytes);
    }
    return reader->Finish();
  }
  using SyncCall = grpc::Status (hellorpc::Sync::Stub::*)(grpc::ClientContext*,
                                                          const hellorpc::SyncRequest&,
                                                          hellorpc::SyncResponse*);
  grpc::Status Sync(SyncCall call, const hellorpc::SyncRequest& request,
                    hellorpc::SyncResponse* response) {
    grpc::ClientContext context;
    return (sync.get()->*call)(&context, request, response);
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Cache::Stub> cache;
  std::unique_ptr<hellorpc::Sync::Stub> sync;
};

v1::SetItem* AddItem(v1::SetRequest* request, std::int32_t type, const std::string& key,
                     const std::string& value) {
  auto* item = request->add_items();
  item->set_type(type);
  item->set_key(key);
  item->set_value(value);
  return item;
}

void AddData(hellorpc::SyncRequest* request, std::int32_t type,
             const std::map<std::string, std::string>& values) {
  auto* data = request->add_data();
  data->set_type(type);
  data->mutable_data()->insert(values.begin(), values.end());
}

constexpr auto kGet = &hellorpc::Sync::Stub::Get;
constexpr auto kSet = &hellorpc::Sync::Stub::Set;
constexpr auto kGetAll = &hellorpc::Sync::Stub::GetAll;

std::unique_ptr<Daemon> Ready(DaemonOptions options) {
  auto daemon = std::make_unique<Daemon>(options);
  daemon->SetPeers({});
  REQUIRE(Eventually([&] { return daemon->ready(); }));
  return daemon;
}

TEST_CASE("set, get and delete many entries") {
  Daemon a({"a"});
  Daemon b({"b"});
  REQUIRE(Connect({&a, &b}));
  Client client(a);
  v1::SetRequest set;
  AddItem(&set, 1, "k", "v");
  AddItem(&set, -2, "bytes", std::string("\0\xff", 2))->set_ttl_ms(60'000);
  v1::SetResponse answer;
  REQUIRE(client.Set(set, &answer).ok());
  CHECK(answer.set() == 2);
  CHECK(answer.ack().met());
  CHECK(answer.ack().required() == v1::ACK_LEVEL_ALL);
  CHECK(answer.ack().peers() == 1);
  CHECK(answer.ack().acked() == 1);
  CHECK(answer.version() == b.cache().Peek(-2, "bytes")->version().ToString());

  Client other(b);
  v1::GetRequest get;
  for (const auto& [type, key] : {std::pair(-2, "bytes"), {1, "none"}, {1, "k"}}) {
    get.add_keys()->set_type(type);
    get.mutable_keys(get.keys_size() - 1)->set_key(key);
  }
  v1::GetResponse found;
  REQUIRE(other.Get(get, &found).ok());
  REQUIRE(found.entries_size() == 2);
  CHECK(found.entries(0).value() == std::string("\0\xff", 2));
  CHECK(found.entries(0).ttl_ms() > 0);
  CHECK(found.entries(0).ttl_ms() <= 60'000);
  CHECK(found.entries(1).key() == "k");
  CHECK(found.entries(1).ttl_ms() == 0);
  CHECK(found.entries(1).version().size() == 33);

  v1::DeleteRequest del;
  del.add_items()->set_type(1);
  del.mutable_items(0)->set_key("k");
  v1::DeleteResponse deleted;
  REQUIRE(other.Delete(del, &deleted).ok());
  CHECK(deleted.deleted() == 1);
  CHECK(deleted.ack().met());
  CHECK_FALSE(a.Value("k"));
}

TEST_CASE("Cache.Get refuses keys that cannot be") {
  const auto a = Ready({"a"});
  REQUIRE(a->Put("k", "v"));
  Client client(*a);
  for (const std::string& key : {std::string(), std::string(513, 'k'), std::string("k\0", 2)}) {
    v1::GetRequest get;
    for (const std::string& wanted : {std::string("k"), key}) {
      v1::Key* const asked = get.add_keys();
      asked->set_type(1);
      asked->set_key(wanted);
    }
    v1::GetResponse found;
    const grpc::Status status = client.Get(get, &found);
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(status.error_message() == "keys[1]: a key is 1 to 512 bytes of UTF-8 without NUL");
    // A key of the largest size may be asked for, and none at all.
    get.mutable_keys(1)->set_key(std::string(512, 'k'));
    CHECK(client.Get(get, &found).ok());
    CHECK(found.entries_size() == 1);
  }
  v1::GetResponse found;
  CHECK(client.Get({}, &found).ok());
}

// Makes calls of which it never reads the answer.
template <typename Request, typename Response>
class NeverReads {
 public:
  using Prepared = std::unique_ptr<grpc::ClientAsyncResponseReader<Response>>;

  // prepare: PrepareAsync... of a stub. Returns when the server has begun to answer.
  template <typename Prepare>
  void Ask(const Request& request, const Prepare& prepare) {
    context_ = std::make_unique<grpc::ClientContext>();
    call_ = prepare(context_.get(), request, &queue_);
    call_->StartCall();
    call_->ReadInitialMetadata(nullptr);
    void* tag = nullptr;
    bool ok = false;
    REQUIRE(queue_.Next(&tag, &ok));
    REQUIRE(ok);
  }
  ~NeverReads() { Cancel(); }
  void Cancel() {
    if (!call_) return;
    context_->TryCancel();
    Response response;
    grpc::Status status;
    call_->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
    call_.reset();
  }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  grpc::CompletionQueue queue_;
  Prepared call_;
};

TEST_CASE("answers that nobody reads are bounded in memory") {
  const auto daemon = Ready({"a"});
  REQUIRE(daemon->Put("k", std::string(1 << 20, 'x')));
  Client client(*daemon);
  SECTION("podmirror.v1.Cache") {
    v1::GetRequest request;
    for (int i = 0; i < 60; ++i) {
      request.add_keys()->set_type(1);
      request.mutable_keys(i)->set_key("k");
    }
    NeverReads<v1::GetRequest, v1::GetResponse> slow;
    slow.Ask(request, [&](auto... all) { return client.cache->PrepareAsyncGet(all...); });
    v1::GetResponse response;
    const grpc::Status refused = client.Get(request, &response);
    CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(refused.error_message() == "overloaded");
    request.mutable_keys()->DeleteSubrange(1, 59);
    CHECK(client.Get(request, &response).ok());
    slow.Cancel();
    while (request.keys_size() < 60) *request.add_keys() = request.keys(0);
    CHECK(Eventually([&] { return client.Get(request, &response).ok(); }));
    CHECK(response.entries_size() == 60);
  }
  SECTION("hellorpc.Sync") {
    hellorpc::SyncRequest request;
    for (int i = 0; i < 60; ++i) AddData(&request, 1, {{"k", ""}});
    NeverReads<hellorpc::SyncRequest, hellorpc::SyncResponse> slow;
    slow.Ask(request, [&](auto... all) { return client.sync->PrepareAsyncGet(all...); });
    hellorpc::SyncResponse response;
    const grpc::Status refused = client.Sync(kGet, request, &response);
    CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(refused.error_message() == "overloaded");
    slow.Cancel();
    CHECK(Eventually([&] { return client.Sync(kGet, request, &response).ok(); }));
  }
}

TEST_CASE("an unmet acknowledgement names who is missing, and the write stands") {
  Daemon a({"a"});
  auto b = std::make_unique<Daemon>(DaemonOptions{"b"});
  REQUIRE(Connect({&a, b.get()}));
  b.reset();
  REQUIRE(Eventually([&] { return a.PeerState() == "connecting"; }));
  Client client(a);
  v1::SetRequest set;
  AddItem(&set, 1, "k", "v");
  v1::SetResponse answer;
  REQUIRE(client.Set(set, &answer).ok());
  CHECK_FALSE(answer.ack().met());
  REQUIRE(answer.ack().pending_size() == 1);
  CHECK(answer.ack().pending(0) == "b");
  CHECK(a.Value("k") == "v");
  set.mutable_options()->set_ack(v1::ACK_LEVEL_LOCAL);
  REQUIRE(client.Set(set, &answer).ok());
  CHECK(answer.ack().met());
}

TEST_CASE("a bad item is named and nothing is applied") {
  const auto a = Ready({"a"});
  Client client(*a);
  v1::SetRequest set;
  AddItem(&set, 1, "good", "v");
  AddItem(&set, 1, std::string(513, 'k'), "v");
  v1::SetResponse answer;
  const grpc::Status status = client.Set(set, &answer);
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(status.error_message() == "items[1]: a key is 1 to 512 bytes of UTF-8 without NUL");
  CHECK_FALSE(a->Value("good"));
  v1::DeleteRequest del;
  del.add_items();
  v1::DeleteResponse deleted;
  CHECK(client.Delete(del, &deleted).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("while bootstrapping and draining calls are refused as REST does") {
  Daemon a({"a"});
  Client client(a);
  v1::SetRequest set;
  AddItem(&set, 1, "k", "v");
  v1::SetResponse answer;
  v1::GetResponse found;
  std::vector<v1::Entry> entries;
  hellorpc::SyncResponse response;
  const auto not_ready = [](const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
           status.error_message() == "not-ready";
  };
  CHECK(not_ready(client.Set(set, &answer)));
  CHECK(not_ready(client.Get({}, &found)));
  CHECK(not_ready(client.GetAll({}, &entries)));
  for (const auto call : {kGet, kSet, kGetAll}) CHECK(not_ready(client.Sync(call, {}, &response)));

  a.SetPeers({});
  REQUIRE(Eventually([&] { return a.ready(); }));
  REQUIRE(client.Set(set, &answer).ok());
  a.driver().BeginDrain();
  CHECK(client.Set(set, &answer).error_message() == "draining");
  CHECK(client.Sync(kSet, {}, &response).error_message() == "draining");
  CHECK(client.Get({}, &found).ok());
  CHECK(client.GetAll({}, &entries).ok());
  CHECK(entries.size() == 1);
}

TEST_CASE("a full memory refuses what grows") {
  const auto a = Ready({.name = "a", .max_memory = 200'000});
  Client client(*a);
  v1::SetRequest set;
  AddItem(&set, 1, "k", std::string(300'000, 'v'));
  v1::SetResponse answer;
  const grpc::Status status = client.Set(set, &answer);
  CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(status.error_message() == "out-of-memory");
}

TEST_CASE("a client that goes away while it waits does no harm") {
  Daemon a({"a"});
  Daemon b({"b"});
  REQUIRE(Connect({&a, &b}));
  PodRecord silent = b.record();  // never answers: its port takes connections and says nothing
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(fd, 16) == 0);
  socklen_t size = sizeof(address);
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  silent.uid = "uid-silent";
  silent.name = "silent";
  silent.port = ntohs(address.sin_port);
  a.SetPeers({b.record(), silent});
  Client client(a);
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(10 * i));
    v1::SetRequest set;
    AddItem(&set, 1, "k" + std::to_string(i), "v");
    set.mutable_options()->set_timeout_ms(60'000);
    v1::SetResponse answer;
    static_cast<void>(client.cache->Set(&context, set, &answer));
  }
  v1::GetRequest get;
  get.add_keys()->set_type(1);
  get.mutable_keys(0)->set_key("k19");
  v1::GetResponse found;
  REQUIRE(client.Get(get, &found).ok());
  CHECK(found.entries_size() == 1);

  // Calls that still wait do not hold up the stop.
  v1::SetRequest set;
  AddItem(&set, 1, "last", "v");
  set.mutable_options()->set_timeout_ms(60'000);
  grpc::ClientContext context;
  v1::SetResponse answer;
  std::promise<void> done;
  client.cache->async()->Set(&context, &set, &answer,
                             [&](const grpc::Status&) { done.set_value(); });
  REQUIRE(Eventually([&] { return a.Value("last").has_value(); }));
  CHECK(a.Stop());
  done.get_future().wait();
  close(fd);
}

TEST_CASE("everything is streamed in bounded messages") {
  const auto a = Ready({"a"});
  const WallMs now = Env::Real().now().wall;
  for (int i = 0; i < 20'000; ++i) {
    a->cache().Merge(Entry::Make(i % 4, "key-" + std::to_string(i), std::string(3000, 'v'), {1, 9}),
                     now);
  }
  a->cache().Merge(Entry::Make(9, "large", std::string(10 << 20, 'v'), {1, 9}), now);
  a->cache().Merge(Entry::MakeTombstone(1, "gone", {1, 9}), now);
  a->cache().Merge(Entry::Make(1, "expired", "v", {1, 9}, now + 1), now);
  REQUIRE(Eventually([&] { return Env::Real().now().wall > now + 1; }));
  Client client(*a);
  std::vector<v1::Entry> entries;
  std::size_t largest = 0;
  REQUIRE(client.GetAll({}, &entries, &largest).ok());
  CHECK(entries.size() == 20'001);
  CHECK(largest < Client::kLargeBytes + 100'000);
  std::set<std::pair<std::int32_t, std::string>> keys;
  for (const auto& entry : entries) keys.emplace(entry.type(), entry.key());
  CHECK(keys.size() == entries.size());

  v1::GetAllRequest some;
  some.add_types(2);
  some.add_types(3);
  some.set_prefix("key-1");
  entries.clear();
  REQUIRE(client.GetAll(some, &entries).ok());
  CHECK(entries.size() == 3 * 1111 + 2222 + 1);
  for (const auto& entry : entries) {
    CHECK((entry.type() == 2 || entry.type() == 3));
    CHECK(entry.key().starts_with("key-1"));
  }
}

TEST_CASE("a reader that stops reading does not hold up the stop") {
  const auto a = Ready({"a"});
  for (int i = 0; i < 200; ++i) {
    a->cache().Merge(Entry::Make(1, "k" + std::to_string(i), std::string(1 << 20, 'v'), {1, 9}),
                     Env::Real().now().wall);
  }
  Client client(*a);
  grpc::ClientContext context;
  auto reader = client.cache->GetAll(&context, {});
  v1::GetAllResponse response;
  REQUIRE(reader->Read(&response));
  CHECK(a->Stop());
  while (reader->Read(&response)) {
  }
  CHECK_FALSE(reader->Finish().ok());
}

TEST_CASE("an answer to many keys is bounded") {
  const auto a = Ready({"a"});
  a->cache().Merge(Entry::Make(1, "k", std::string(1 << 20, 'v'), {1, 9}), Env::Real().now().wall);
  Client client(*a);
  v1::GetRequest get;
  for (int i = 0; i < 100; ++i) {
    get.add_keys()->set_type(1);
    get.mutable_keys(i)->set_key("k");
  }
  v1::GetResponse found;
  CHECK(client.Get(get, &found).error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_CASE("hellorpc clients set, get and get all") {
  Daemon a({"a"});
  Daemon b({"b"});
  REQUIRE(Connect({&a, &b}));
  Client client(a);
  hellorpc::SyncRequest set;
  AddData(&set, 1, {{"a", "1"}, {"b", "2"}});
  AddData(&set, 2, {{"a", "3"}});
  hellorpc::SyncResponse response;
  REQUIRE(client.Sync(kSet, set, &response).ok());
  CHECK(response.data_size() == 2);
  CHECK(response.data(0).data().at("b") == "2");
  CHECK(a.Value("a", 2) == "3");
  // Not sent on: b gets it by the next repair pass, not by a write of a's.
  CHECK(Eventually([&] { return b.Value("a", 2) == "3"; }));
  const auto peer = a.driver().Peers().at(0);
  CHECK(peer.acked_seq + peer.behind_entries == 0);

  hellorpc::SyncRequest get;
  AddData(&get, 2, {{"a", ""}, {"none", ""}});
  AddData(&get, 1, {{"b", ""}});
  REQUIRE(client.Sync(kGet, get, &response).ok());
  REQUIRE(response.data_size() == 2);
  CHECK(response.data(0).type() == 2);
  CHECK(response.data(0).data().size() == 1);
  CHECK(response.data(0).data().at("a") == "3");
  CHECK(response.data(1).data().at("b") == "2");

  REQUIRE(a.Put("binary", "\xff")->met);
  REQUIRE(client.Sync(kGetAll, {}, &response).ok());
  REQUIRE(response.data_size() == 2);
  const auto& first = response.data(0).type() == 1 ? response.data(0) : response.data(1);
  CHECK(first.data().size() == 2);
  CHECK(a.metrics().Render().find("podmirror_legacy_values_skipped_total 1") != std::string::npos);
  hellorpc::SyncRequest one;
  AddData(&one, 2, {});
  AddData(&one, 5, {});
  REQUIRE(client.Sync(kGetAll, one, &response).ok());
  REQUIRE(response.data_size() == 2);
  CHECK(response.data(0).type() == 2);
  CHECK(response.data(0).data().size() == 1);
  CHECK(response.data(1).type() == 5);
  CHECK(response.data(1).data().empty());
}

TEST_CASE("a bad hellorpc item is refused and nothing is applied") {
  const auto a = Ready({"a"});
  Client client(*a);
  hellorpc::SyncRequest set;
  AddData(&set, 1, {{"good", "1"}});
  AddData(&set, 1, {{"", "2"}});
  hellorpc::SyncResponse response;
  const grpc::Status status = client.Sync(kSet, set, &response);
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(status.error_message().starts_with("data[1]: a key"));
  CHECK_FALSE(a->Value("good"));
}

TEST_CASE("hellorpc answers up to 64 MiB") {
  const auto a = Ready({"a"});
  const WallMs now = Env::Real().now().wall;
  for (int i = 0; i < 63; ++i) {
    a->cache().Merge(Entry::Make(1, "k" + std::to_string(i), std::string(1 << 20, 'v'), {1, 9}),
                     now);
  }
  Client client(*a);
  hellorpc::SyncResponse response;
  REQUIRE(client.Sync(kGetAll, {}, &response).ok());
  CHECK(response.data(0).data().size() == 63);
  for (int i = 63; i < 70; ++i) {
    a->cache().Merge(Entry::Make(2, "k" + std::to_string(i), std::string(1 << 20, 'v'), {1, 9}),
                     now);
  }
  CHECK(client.Sync(kGetAll, {}, &response).error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  hellorpc::SyncRequest one;
  AddData(&one, 2, {});
  REQUIRE(client.Sync(kGetAll, one, &response).ok());
  CHECK(response.data(0).data().size() == 7);
}

// --- the server ---

// A call of a service of gRPC's own, for whose messages no stub is generated.
template <typename Response, typename Request>
grpc::Status Call(const Client& client, const char* name, const Request& request,
                  Response* response) {
  const grpc::internal::RpcMethod method(name, grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ClientContext context;
  return grpc::internal::BlockingUnaryCall<Request, Response>(client.channel.get(), method,
                                                              &context, request, response);
}

using HealthRequest = grpc::health::v1::HealthCheckRequest;
using HealthResponse = grpc::health::v1::HealthCheckResponse;

std::string Health(const Client& client, const std::string& service) {
  HealthRequest request;
  request.set_service(service);
  HealthResponse response;
  const grpc::Status status = Call(client, "/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return "error " + std::to_string(status.error_code());
  return HealthResponse::ServingStatus_Name(response.status());
}

TEST_CASE("health follows what the daemon says") {
  const auto a = Ready({"a"});
  Client client(*a);
  for (const char* service : {"", "podmirror.v1.Cache", "podmirror.v1.Follow", "hellorpc.Sync"}) {
    a->server().SetServing(false);
    CHECK(Health(client, service) == "NOT_SERVING");
    a->server().SetServing(true);
    CHECK(Health(client, service) == "SERVING");
  }
  CHECK(Health(client, "no.such.Service") == "error 5");
  a->server().Leave();
  a->server().SetServing(true);
  CHECK(Health(client, "") == "NOT_SERVING");
}

// A call of Health/Watch.
struct HealthWatch {
  HealthWatch(const Client& client, const std::string& service) {
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Watch",
                                           grpc::internal::RpcMethod::SERVER_STREAMING);
    HealthRequest request;
    request.set_service(service);
    reader.reset(grpc::internal::ClientReaderFactory<HealthResponse>::Create(
        client.channel.get(), method, &context, request));
  }
  ~HealthWatch() { context.TryCancel(); }

  std::string Next() {
    HealthResponse response;
    if (!reader->Read(&response)) return "the end";
    return HealthResponse::ServingStatus_Name(response.status());
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<HealthResponse>> reader;
};

TEST_CASE("health is watched") {
  const auto a = Ready({"a"});
  Client client(*a);
  HealthWatch watch(client, "");
  HealthWatch unknown(client, "no.such.Service");
  CHECK(watch.Next() == "NOT_SERVING");
  CHECK(unknown.Next() == "SERVICE_UNKNOWN");
  for (int i = 0; i < 3; ++i) {
    a->server().SetServing(true);
    CHECK(watch.Next() == "SERVING");
    a->server().SetServing(false);
    CHECK(watch.Next() == "NOT_SERVING");
  }
  {
    HealthWatch gone(client, "hellorpc.Sync");
    CHECK(gone.Next() == "NOT_SERVING");
  }
  a->server().SetServing(true);
  CHECK(watch.Next() == "SERVING");
  a->server().Leave();
  CHECK(watch.Next() == "NOT_SERVING");
  CHECK(a->Stop());  // with watches still open
  CHECK(watch.Next() == "the end");
}

// A stream of ServerReflectionInfo.
struct Reflection {
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;

  Reflection(const Client& client, const char* version)
      : name("/grpc.reflection." + std::string(version) + ".ServerReflection/ServerReflectionInfo"),
        method(name.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING),
        stream(grpc::internal::ClientReaderWriterFactory<Request, Response>::Create(
            client.channel.get(), method, &context)) {}

  Response Ask(const Request& request) {
    REQUIRE(stream->Write(request));
    Response response;
    REQUIRE(stream->Read(&response));
    return response;
  }

  const std::string name;
  const grpc::internal::RpcMethod method;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream;
};

TEST_CASE("reflection tells the services and their files") {
  const auto a = Ready({"a"});
  Client client(*a);
  const char* version = GENERATE("v1alpha", "v1");
  Reflection reflection(client, version);
  Reflection::Request request;
  request.set_host("h");
  request.set_list_services("");
  std::set<std::string> services;
  const Reflection::Response listed = reflection.Ask(request);
  CHECK(listed.valid_host() == "h");
  for (const auto& service : listed.list_services_response().service()) {
    services.insert(service.name());
    // Every service that is listed is described, with all that its file needs.
    request.set_file_containing_symbol(service.name());
    google::protobuf::DescriptorPool pool;
    const Reflection::Response described = reflection.Ask(request);
    const auto& files = described.file_descriptor_response().file_descriptor_proto();
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
      google::protobuf::FileDescriptorProto proto;
      REQUIRE(proto.ParseFromString(*file));
      pool.BuildFile(proto);
    }
    INFO(service.name());
    CHECK(pool.FindServiceByName(service.name()) != nullptr);
  }
  CHECK(services == std::set<std::string>{"podmirror.v1.Peer", "podmirror.v1.Cache",
                                          "podmirror.v1.Follow", "hellorpc.Sync",
                                          "grpc.health.v1.Health",
                                          "grpc.reflection.v1alpha.ServerReflection"});
  request.set_file_by_filename("podmirror/v1/cache.proto");
  CHECK(reflection.Ask(request).file_descriptor_response().file_descriptor_proto_size() == 1);
  request.set_file_by_filename("none.proto");
  CHECK(reflection.Ask(request).error_response().error_code() == grpc::StatusCode::NOT_FOUND);
  request.clear_message_request();
  CHECK(reflection.Ask(request).error_response().error_code() == grpc::StatusCode::UNIMPLEMENTED);
  CHECK(a->Stop());  // with the stream still open
  reflection.stream->Finish();
}

TEST_CASE("calls that no handler takes are refused") {
  const auto a = Ready({"a"});
  Client client(*a);
  v1::GetResponse response;
  for (const char* name : {"/podmirror.v1.Cache/None", "/none.Service/Get", "/x"}) {
    INFO(name);
    CHECK(Call(client, name, v1::GetRequest(), &response).error_code() ==
          grpc::StatusCode::UNIMPLEMENTED);
  }
  // Bytes that are no message.
  const grpc::Slice slice(std::string("\xff\xff\xff"));
  const grpc::ByteBuffer nonsense(&slice, 1);
  grpc::ByteBuffer answer;
  for (const char* name :
       {"/podmirror.v1.Cache/Get", "/podmirror.v1.Cache/Set", "/podmirror.v1.Cache/Delete",
        "/podmirror.v1.Cache/GetAll", "/hellorpc.Sync/Get", "/hellorpc.Sync/Set",
        "/hellorpc.Sync/GetAll", "/grpc.health.v1.Health/Check"}) {
    INFO(name);
    CHECK(Call(client, name, nonsense, &answer).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  }
  // A client that ends its side without a request.
  const grpc::internal::RpcMethod method("/podmirror.v1.Cache/Get",
                                         grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          client.channel.get(), method, &context));
  stream->WritesDone();
  CHECK(stream->Finish().error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("large requests and answers come through") {
  const auto a = Ready({"a"});
  Client client(*a);
  v1::SetRequest set;
  v1::GetRequest get;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "k" + std::to_string(i);
    AddItem(&set, 1, key, std::string(1000, 'v'));
    get.add_keys()->set_type(1);
    get.mutable_keys(i)->set_key(key);
  }
  v1::SetResponse answer;
  REQUIRE(client.Set(set, &answer).ok());
  CHECK(answer.set() == 1000);
  v1::GetResponse found;
  REQUIRE(client.Get(get, &found).ok());
  CHECK(found.entries_size() == 1000);
  CHECK(found.entries(999).key() == "k999");
}

// Lets everybody do everything.
struct OpenAccess {
  const trust::Guard guard{Env::Real()};
  const trust::Audit audit{trust::Audit::Level::kOff, nullptr};
  const trust::Access access{guard, audit};
  Callers callers{nullptr, Env::Real()};
};

TEST_CASE("a taken port is told, whoever took it") {
  OpenAccess open;
  Daemon a({"a"});
  net::GrpcQueue queue;
  net::BulkThread bulk("bulk");
  const auto again = RpcServer::Start({{"127.0.0.1:" + std::to_string(a.port())}}, queue, bulk,
                                      open.access, open.callers, {}, {});
  REQUIRE_FALSE(again.ok());
  CHECK(again.status().message() == "grpc-listen: cannot listen on 127.0.0.1:" +
                                        std::to_string(a.port()) + ": Address already in use");
  const auto wildcard = RpcServer::Start({{"[::]:" + std::to_string(a.port())}}, queue, bulk,
                                         open.access, open.callers, {}, {});
  REQUIRE_FALSE(wildcard.ok());
  CHECK(wildcard.status().message().find("Address already in use") != std::string::npos);
  CHECK_FALSE(
      RpcServer::Start({{"192.0.2.1:0"}}, queue, bulk, open.access, open.callers, {}, {}).ok());
}

TEST_CASE("the wildcard address serves both families") {
  OpenAccess open;
  net::GrpcQueue queue;
  net::BulkThread bulk("bulk");
  const auto server =
      RpcServer::Start({{"[::]:0"}}, queue, bulk, open.access, open.callers, {}, {});
  REQUIRE(server.ok());
  for (const char* host : {"127.0.0.1", "[::1]"}) {
    auto channel = grpc::CreateChannel(host + (":" + std::to_string((*server)->port())),
                                       grpc::InsecureChannelCredentials());
    CHECK(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5)));
  }
  CHECK((*server)->Stop(absl::ZeroDuration()));
  queue.Stop();
}

}  // namespace
}  // namespace podmirror::rpc
