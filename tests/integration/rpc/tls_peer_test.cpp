// Daemons that talk to each other over TLS: who is a peer and who is not, and certificates that
// change while they stream.
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "certs/test_keyring.h"
#include "integration/rest/tls_client.h"
#include "integration/rpc/daemon.h"
#include "net/listener.h"
#include "podmirror/v1/cache.grpc.pb.h"
#include "podmirror/v1/peer.grpc.pb.h"

namespace podmirror::rpc {
namespace {

using testing::TestAuthority;
using testing::TestKeyring;
using trust::Looked;

constexpr char kPeer[] = "spiffe://test/ns/shop/sa/podmirror";
constexpr char kStranger[] = "spiffe://test/ns/other/sa/stranger";
constexpr char kNotPeer[] =
    "its certificate is not that of a peer: it carries spiffe://test/ns/other/sa/stranger";
constexpr char kNotSigned[] = "its certificate is refused: no authority in tls-ca has signed it";

TestAuthority::Leaf LeafOf(const TestAuthority& authority, const std::string& name,
                           const std::string& uri = kPeer) {
  return authority.IssueFor({.common_name = name, .names = "IP:127.0.0.1,URI:" + uri});
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A daemon with a keyring of its own.
struct Node {
  Node(const std::string& name, const TestAuthority& authority, const TestAuthority::Leaf& leaf,
       const std::vector<std::string>& peers = {})
      : keyring(authority, leaf, peers), daemon({.name = name, .keyring = keyring.get()}) {}
  Node(const std::string& name, const TestAuthority& authority)
      : Node(name, authority, LeafOf(authority, name)) {}

  // As the daemon does when its files have changed.
  bool Replace(const TestAuthority::Leaf& leaf) {
    const bool taken = keyring.Replace(leaf) == Looked::kTaken;
    daemon.transport().CheckPeers();
    return taken;
  }
  bool ReplaceAuthorities(const std::string& pem) {
    const bool taken = keyring.ReplaceAuthorities(pem) == Looked::kTaken;
    daemon.transport().CheckPeers();
    return taken;
  }
  bool Refuses(const std::string& reason) const {
    return daemon.PeerState() == "refused" && Has(daemon.PeerError(), reason);
  }

  TestKeyring keyring;
  Daemon daemon;
};

// A client that is no daemon.
class Client {
 public:
  Client(const Node& node, const TestAuthority& authority,
         const TestAuthority::Leaf& leaf = {.cert = "", .key = ""}) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = authority.pem();
    options.pem_private_key = leaf.key;
    options.pem_cert_chain = leaf.cert;
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    channel_ =
        grpc::CreateCustomChannel(node.daemon.address(), grpc::SslCredentials(options), args);
  }

  // The common name that the daemon's certificate has; empty when a call fails.
  std::string NameOfDaemon() const {
    grpc::ClientContext context;
    v1::GetResponse response;
    if (!v1::Cache::NewStub(channel_)->Get(&context, v1::GetRequest(), &response).ok()) return {};
    const auto names = context.auth_context()->FindPropertyValues("x509_common_name");
    return names.size() == 1 ? std::string(names[0].data(), names[0].size()) : std::string();
  }

  // How the daemon ends a stream of peers.
  grpc::Status Exchange() const {
    grpc::ClientContext context;
    const auto stream = v1::Peer::NewStub(channel_)->Exchange(&context);
    v1::Frame frame;
    while (stream->Read(&frame)) {
    }
    return stream->Finish();
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_CASE("tls: what is put on one daemon is on all, and nobody without TLS gets it") {
  const TestAuthority authority("ca");
  Node a("a", authority);
  Node b("b", authority);
  Node c("c", authority);
  REQUIRE(Connect({&a.daemon, &b.daemon, &c.daemon}));
  for (Node* node : {&a, &b, &c}) {
    const std::string key = node->daemon.record().name;
    const auto outcome = node->daemon.Put(key, std::string(1 << 20, 'x'));
    REQUIRE(outcome);
    CHECK(outcome->met);
    CHECK(outcome->acked == 2);
  }
  CHECK(a.daemon.cache().digest() == b.daemon.cache().digest());
  CHECK(a.daemon.cache().digest() == c.daemon.cache().digest());

  Daemon plain({"plain"});
  plain.SetPeers({a.daemon.record()});
  a.daemon.SetPeers({b.daemon.record(), c.daemon.record(), plain.record()});
  REQUIRE(Eventually([&] { return !plain.PeerError().empty(); }));
  const auto outcome = a.daemon.Put("later", "v");
  REQUIRE(outcome);
  CHECK(outcome->acked == 2);
  CHECK(plain.PeerState() == "connecting");
  CHECK(plain.cache().Stats().entries == 0);
}

TEST_CASE("tls: a daemon that is no peer is refused, and both sides say why") {
  const TestAuthority authority("ca");
  const TestAuthority other("other");
  const bool signed_by_ours = GENERATE(true, false);
  Node a("a", authority);
  Node stranger("b", authority,
                signed_by_ours ? LeafOf(authority, "b", kStranger) : LeafOf(other, "b"), {kPeer});
  const std::string reason = signed_by_ours ? kNotPeer : kNotSigned;
  a.daemon.SetPeers({stranger.daemon.record()});
  stranger.daemon.SetPeers({a.daemon.record()});
  CHECK(Eventually([&] { return a.Refuses(reason); }));
  CHECK(Eventually([&] { return stranger.Refuses(reason); }));
  CHECK(a.daemon.refused() > 0);
  REQUIRE(Eventually([&] { return a.daemon.ready(); }));
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = a.daemon.Put("k", "v", {sync::AckLevel::kAll, 10'000});
  REQUIRE(outcome);
  CHECK(outcome->pending == std::vector<std::string>{"b"});
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  CHECK_FALSE(stranger.daemon.Value("k"));
}

TEST_CASE("tls: new certificates are shown to new connections, and streams go on") {
  const TestAuthority authority("ca");
  Node a("a", authority);
  Node b("b", authority);
  REQUIRE(Connect({&a.daemon, &b.daemon}));
  std::atomic<bool> stop{false};
  std::atomic<int> unmet{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const auto outcome =
          a.daemon.Put("k" + std::to_string(i % 100), "v", {sync::AckLevel::kAll, 10'000});
      if (!outcome || !outcome->met) ++unmet;
    }
  });
  bool taken = true;
  std::vector<std::string> shown;
  std::vector<std::string> expected;
  for (int i = 0; i < 10; ++i) {
    expected.push_back("leaf-" + std::to_string(i));
    taken = taken && a.Replace(LeafOf(authority, expected.back()));
    taken = taken && b.Replace(LeafOf(authority, "b"));
    shown.push_back(Client(a, authority).NameOfDaemon());
  }
  stop = true;
  writer.join();
  CHECK(taken);
  CHECK(shown == expected);
  CHECK(unmet == 0);
  CHECK(a.daemon.peers_lost() + b.daemon.peers_lost() == 0);
  Node c("c", authority);
  CHECK(Connect({&a.daemon, &b.daemon, &c.daemon}));
}

TEST_CASE("tls: whose authority is not believed any more gets nothing, until it has another") {
  const TestAuthority authority("ca");
  const TestAuthority fresh("fresh");
  Node a("a", authority);
  Node b("b", authority);
  REQUIRE(Connect({&a.daemon, &b.daemon}));
  REQUIRE(a.ReplaceAuthorities(fresh.pem()));
  CHECK(Eventually([&] { return a.Refuses(kNotSigned); }));
  CHECK(Eventually([&] { return b.Refuses(kNotSigned); }));
  const auto outcome = a.daemon.Put("k", "v");
  REQUIRE(outcome);
  CHECK(outcome->acked == 0);
  CHECK_FALSE(b.daemon.Value("k"));
  REQUIRE(b.Replace(LeafOf(fresh, "b")));
  CHECK(Connect({&a.daemon, &b.daemon}));
  CHECK(Eventually([&] { return b.daemon.Value("k") == "v"; }));
}

TEST_CASE("tls: an authority is replaced by way of both, and nobody is refused") {
  const TestAuthority authority("ca");
  const TestAuthority fresh("fresh");
  Node a("a", authority);
  Node b("b", authority);
  REQUIRE(Connect({&a.daemon, &b.daemon}));
  for (Node* node : {&a, &b}) {
    REQUIRE(node->ReplaceAuthorities(authority.pem() + fresh.pem()));
  }
  for (Node* node : {&a, &b}) REQUIRE(node->Replace(LeafOf(fresh, "leaf")));
  CHECK(a.daemon.Put("k", "v")->acked == 1);
  CHECK(a.daemon.peers_lost() + b.daemon.peers_lost() == 0);
  // They stream with the leaves that they had at the start: now they begin anew.
  for (Node* node : {&a, &b}) REQUIRE(node->ReplaceAuthorities(fresh.pem()));
  CHECK(Eventually([&] { return a.daemon.peers_lost() > 0 && b.daemon.peers_lost() > 0; }));
  CHECK(Connect({&a.daemon, &b.daemon}));
  CHECK(a.daemon.refused() + b.daemon.refused() == 0);
}

TEST_CASE("tls: a stream that opens while its authority goes does not stay") {
  const TestAuthority authority("ca");
  const TestAuthority fresh("fresh");
  for (int i = 0; i < 6; ++i) {
    Node a("a", authority);
    Node b("b", authority);
    std::thread change([&] {
      if (i % 2 == 1) Client(a, authority).NameOfDaemon();  // some time later
      a.ReplaceAuthorities(fresh.pem());
    });
    a.daemon.SetPeers({b.daemon.record()});
    b.daemon.SetPeers({a.daemon.record()});
    change.join();
    CHECK(Eventually([&] { return a.Refuses(kNotSigned); }));
    CHECK(Eventually([&] { return b.Refuses(kNotSigned); }));
  }
}

TEST_CASE("tls: who is refused again and again is turned away; streams do not suffer") {
  const TestAuthority authority("ca");
  Node a("a", authority);
  Node b("b", authority);
  REQUIRE(Connect({&a.daemon, &b.daemon}));
  const TestAuthority::Leaf leaf = LeafOf(authority, "stranger", kStranger);
  const grpc::Status first = Client(a, authority, leaf).Exchange();
  CHECK(first.error_code() == grpc::StatusCode::PERMISSION_DENIED);
  CHECK(first.error_message() == kNotPeer);
  grpc::Status last;
  for (int i = 0; i < 200 && a.daemon.turned_away() == 0; ++i) {
    last = Client(a, authority, leaf).Exchange();
  }
  CHECK(a.daemon.turned_away() > 0);
  CHECK(last.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(a.daemon.refused() >= ConnectionLimit::kFree);
  CHECK(a.daemon.Put("k", "v")->acked == 1);
  CHECK(b.daemon.Put("k", "w")->acked == 1);
  CHECK(a.daemon.peers_lost() == 0);
  // Whoever comes from there gets in again before long.
  CHECK(Eventually([&] { return Client(a, authority).NameOfDaemon() == "a"; }));
}

TEST_CASE("tls: a stop waits for no handshake, of others or our own") {
  const TestAuthority authority("ca");
  Node a("a", authority);
  Node b("b", authority);
  const std::string message = rest::TlsClient::FirstMessage();
  std::vector<std::unique_ptr<rest::RawClient>> clients;
  for (std::size_t i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<rest::RawClient>(a.daemon.port()));
    clients.back()->Send(std::string_view(message).substr(0, message.size() * (i % 4) / 4));
  }
  // It lets everybody in, and says nothing.
  const Result<int> silent = net::OpenListener("127.0.0.1:0");
  REQUIRE(silent.ok());
  PodRecord nobody = b.daemon.record();
  nobody.uid = "uid-nobody";
  nobody.name = "nobody";
  nobody.port = net::BoundPort(*silent);
  a.daemon.SetPeers({b.daemon.record(), nobody});
  b.daemon.SetPeers({a.daemon.record()});
  REQUIRE(Eventually([&] { return b.daemon.PeerState() == "streaming"; }));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(a.daemon.Stop());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(8));
  for (const auto& client : clients) CHECK(client->ReadAll().empty());
  close(*silent);
}

}  // namespace
}  // namespace podmirror::rpc
