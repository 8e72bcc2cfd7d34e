// Daemons that talk to each other over real gRPC on loopback.
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "integration/rpc/daemon.h"
#include "podmirror/v1/peer.grpc.pb.h"
#include "sanitized.h"
#include "wire/codec.h"

namespace podmirror::rpc {
namespace {

TEST_CASE("what is put on one daemon is on all, and its answer says so") {
  Daemon a({"a"});
  Daemon b({"b"});
  Daemon c({"c"});
  REQUIRE(Connect({&a, &b, &c}));
  for (int i = 0; i < 100; ++i) {
    const auto outcome = a.Put("k" + std::to_string(i), "v" + std::to_string(i));
    REQUIRE(outcome);
    CHECK(outcome->met);
    CHECK(outcome->peers == 2);
    CHECK(outcome->acked == 2);
    // Acknowledged means applied, now.
    CHECK(b.Value("k" + std::to_string(i)) == "v" + std::to_string(i));
    CHECK(c.Value("k" + std::to_string(i)) == "v" + std::to_string(i));
  }
  REQUIRE(b.Put("from-b", std::string(1 << 20, 'x')));
  CHECK((a.Value("from-b") == std::string(1 << 20, 'x')));
  CHECK(a.cache().digest() == b.cache().digest());
  CHECK(a.cache().digest() == c.cache().digest());
}

TEST_CASE("the largest value there can be goes through") {
  Daemon a({"a"});
  Daemon b({"b"});
  REQUIRE(Connect({&a, &b}));
  // The sanitizer of threads makes the largest one slower than a timeout.
  const std::string value(kThreadSanitized ? kMaxValueBytes / 8 : kMaxValueBytes, 'x');
  REQUIRE(a.Put("large", value, {sync::AckLevel::kLocal, 0}));
  CHECK(Eventually([&] { return b.Value("large").has_value(); }));
  CHECK((b.Value("large") == value));  // not expanded: it is long
}

TEST_CASE("writers on all daemons at once lose nothing") {
  Daemon a({"a"});
  Daemon b({"b"});
  Daemon c({"c"});
  REQUIRE(Connect({&a, &b, &c}));
  std::vector<std::thread> writers;
  std::atomic<int> unmet{0};
  for (Daemon* daemon : {&a, &b, &c}) {
    for (int t = 0; t < 2; ++t) {
      writers.emplace_back([&unmet, daemon, t] {
        for (int i = 0; i < 200; ++i) {
          const auto outcome =
              daemon->Put(daemon->record().name + std::to_string(t) + "-" + std::to_string(i), "v",
                          {sync::AckLevel::kAll, 10'000});
          if (!outcome || !outcome->met) ++unmet;
        }
      });
    }
  }
  for (std::thread& writer : writers) writer.join();
  CHECK(unmet == 0);
  CHECK(a.cache().Stats().entries == 1200);
  CHECK(a.cache().digest() == b.cache().digest());
  CHECK(a.cache().digest() == c.cache().digest());
}

TEST_CASE("a joiner copies what is there") {
  Daemon a({"a"});
  a.SetPeers({});
  REQUIRE(Eventually([&] { return a.ready(); }));
  for (int i = 0; i < 20'000; ++i) {
    a.cache().Merge(Entry::Make(i % 5, "key-" + std::to_string(i), std::string(200, 'v'), {1, 9}),
                    Env::Real().now().wall);
  }
  Daemon b({"b"});
  REQUIRE(Connect({&a, &b}));
  CHECK(b.cache().digest() == a.cache().digest());
  CHECK(b.driver().Status().bootstrap.donor == "a");
}

TEST_CASE("streams over IPv6") {
  Daemon a({.name = "a", .host = "::1"});
  Daemon b({.name = "b", .host = "::1"});
  REQUIRE(Connect({&a, &b}));
  REQUIRE(a.Put("k", "v")->met);
  CHECK(b.Value("k") == "v");
}

TEST_CASE("a pod of another cluster is refused") {
  Daemon a({"a"});
  Daemon b({.name = "b", .cluster = "other/podmirror"});
  a.SetPeers({b.record()});
  b.SetPeers({});
  REQUIRE(Eventually([&] { return a.PeerState() == "refused"; }));
  CHECK(a.PeerError().find("cluster") != std::string::npos);
}

TEST_CASE("another pod at the address is refused") {
  Daemon a({"a"});
  Daemon b({"b"});
  PodRecord wrong = b.record();
  wrong.uid = "uid-of-a-pod-that-is-gone";
  a.SetPeers({wrong});
  b.SetPeers({});
  REQUIRE(Eventually([&] { return a.PeerState() == "refused"; }));
  CHECK(a.PeerError().find("UID") != std::string::npos);
}

TEST_CASE("a peer that goes away is noticed at once and met again when it is back") {
  Daemon a({"a"});
  auto b = std::make_unique<Daemon>(DaemonOptions{"b"});
  const std::uint16_t port = b->port();
  REQUIRE(Connect({&a, b.get()}));
  REQUIRE(a.Put("before", "v")->met);
  b.reset();
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(Eventually([&] { return a.PeerState() == "connecting"; }));
  const auto outcome = a.Put("meanwhile", "v", {sync::AckLevel::kAll, 10'000});
  REQUIRE(outcome);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
  CHECK_FALSE(outcome->met);
  CHECK(outcome->pending == std::vector<std::string>{"b"});
  CHECK(Eventually([&] { return a.PeerError() == "connection refused"; }));

  b = std::make_unique<Daemon>(DaemonOptions{.name = "b", .port = port});
  REQUIRE(Connect({&a, b.get()}));
  CHECK(b->Value("before") == "v");
  CHECK(b->Value("meanwhile") == "v");
  CHECK(a.Put("after", "v")->met);
}

TEST_CASE("a peer at a port where nobody listens is told in few words") {
  auto gone = std::make_unique<Daemon>(DaemonOptions{"gone"});
  const PodRecord record = gone->record();
  gone.reset();
  Daemon a({"a"});
  a.SetPeers({record});
  CHECK(Eventually([&] { return a.PeerError() == "connection refused"; }));
}

TEST_CASE("a daemon stops with live streams under load, in any order") {
  for (int round = 0; round < 5; ++round) {
    auto a = std::make_unique<Daemon>(DaemonOptions{"a"});
    auto b = std::make_unique<Daemon>(DaemonOptions{"b"});
    auto c = std::make_unique<Daemon>(DaemonOptions{"c"});
    REQUIRE(Connect({a.get(), b.get(), c.get()}));
    std::atomic<bool> stop{false};
    std::vector<std::thread> writers;
    for (Daemon* daemon : {a.get(), b.get()}) {
      writers.emplace_back([daemon, &stop] {
        for (int i = 0; !stop; ++i) {
          daemon->Put("k" + std::to_string(i), std::string(1000, 'v'), {sync::AckLevel::kLocal, 0});
        }
      });
    }
    REQUIRE(Eventually([&] { return c->cache().Stats().entries > 200; }));
    CHECK(c->Stop());
    CHECK(a->transport().Stop(absl::Seconds(10)));  // while its writers write on
    stop = true;
    for (std::thread& writer : writers) writer.join();
    CHECK(b->Stop());
    CHECK(a->Stop());
  }
}

TEST_CASE("after its stop a transport dials nobody and takes nobody") {
  Daemon a({"a"});
  Daemon b({"b"});
  REQUIRE(b.transport().Stop(absl::Seconds(5)));
  a.SetPeers({b.record()});
  b.SetPeers({a.record()});
  CHECK(Eventually([&] { return a.PeerError() == "shutting down"; }));
  CHECK(Eventually([&] { return b.PeerError() == "shutting down"; }));
}

// --- a peer that is not one of ours ---

class RawPeer {
 public:
  explicit RawPeer(const Daemon& daemon)
      : channel_(grpc::CreateChannel(daemon.address(), grpc::InsecureChannelCredentials())),
        stub_(v1::Peer::NewStub(channel_)),
        stream_(stub_->Exchange(&context_)) {}

  ~RawPeer() {
    context_.TryCancel();
    if (!finished_) stream_->Finish();
  }

  bool Write(const v1::Frame& frame) { return stream_->Write(frame); }
  bool Write(const sync::Message& message) {
    v1::Frame frame;
    wire::Encode(message, &frame);
    return Write(frame);
  }
  bool Read(v1::Frame* frame) { return stream_->Read(frame); }
  bool WritesDone() { return stream_->WritesDone(); }
  grpc::Status Finish() {
    finished_ = true;
    return stream_->Finish();
  }

  bool Hello(const std::string& name) {
    sync::Hello hello;
    hello.self.name = name;
    hello.self.uid = "uid-" + name;
    hello.self.cluster = "test/podmirror";
    hello.self.incarnation = 4711;
    v1::Frame reply;
    return Write(hello) && Read(&reply) && reply.hello_reply().refusal() == v1::REFUSAL_NONE &&
           reply.has_hello_reply();
  }

 private:
  grpc::ClientContext context_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Peer::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Frame, v1::Frame>> stream_;
  bool finished_ = false;
};

TEST_CASE("messages of a later version are skipped, the stream goes on") {
  Daemon a({"a"});
  a.SetPeers({});
  RawPeer peer(a);
  v1::Frame unknown;
  unknown.GetReflection()->MutableUnknownFields(&unknown)->AddLengthDelimited(100, "later");
  REQUIRE(peer.Write(unknown));
  REQUIRE(peer.Hello("x"));
  REQUIRE(peer.Write(unknown));
  REQUIRE(peer.Write(sync::Batch{1, 1, {Entry::Make(1, "k", "v", {HlcOf(1), 4711})}}));
  v1::Frame ack;
  REQUIRE(peer.Read(&ack));
  CHECK(ack.ack().seq() == 1);
  CHECK(a.Value("k") == "v");
}

TEST_CASE("a frame that breaks a rule ends the stream with the reason") {
  Daemon a({"a"});
  a.SetPeers({});
  RawPeer peer(a);
  REQUIRE(peer.Hello("x"));
  v1::Frame bad;
  bad.mutable_sums_request()->add_groups(256);
  REQUIRE(peer.Write(bad));
  v1::Frame frame;
  CHECK_FALSE(peer.Read(&frame));
  const grpc::Status status = peer.Finish();
  CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(status.error_message() == "group out of range or order: 256");
}

TEST_CASE("a peer that closes its side gets the end") {
  Daemon a({"a"});
  RawPeer peer(a);
  REQUIRE(peer.WritesDone());
  v1::Frame frame;
  CHECK_FALSE(peer.Read(&frame));
  CHECK(peer.Finish().ok());
}

TEST_CASE("a peer that asks and never reads does not hold up the stop") {
  Daemon a({"a"});
  a.SetPeers({});
  REQUIRE(Eventually([&] { return a.ready(); }));
  for (int i = 0; i < 64; ++i) {
    a.cache().Merge(Entry::Make(1, "k" + std::to_string(i), std::string(1 << 20, 'v'), {1, 9}),
                    Env::Real().now().wall);
  }
  RawPeer peer(a);
  REQUIRE(peer.Hello("x"));
  sync::Fetch fetch;
  for (int i = 0; i < 7; ++i) REQUIRE(peer.Write(fetch));
  // Answers fill the flow-control window and one is stuck; a second stream still works.
  RawPeer other(a);
  CHECK(other.Hello("y"));
  CHECK(a.Stop());
}

TEST_CASE("garbage instead of frames does no harm") {
  Daemon a({"a"});
  a.SetPeers({});
  auto channel = grpc::CreateChannel(a.address(), grpc::InsecureChannelCredentials());
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    grpc::internal::RpcMethod method("/podmirror.v1.Peer/Exchange",
                                     grpc::internal::RpcMethod::BIDI_STREAMING);
    auto stream = std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>>(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            channel.get(), method, &context));
    const grpc::Slice slice(std::string(static_cast<std::size_t>(i) * 37, '\xff'));
    stream->Write(grpc::ByteBuffer(&slice, 1));
    stream->WritesDone();
    grpc::ByteBuffer answer;
    while (stream->Read(&answer)) {
    }
    stream->Finish();
  }
  RawPeer peer(a);
  CHECK(peer.Hello("x"));
}

}  // namespace
}  // namespace podmirror::rpc
