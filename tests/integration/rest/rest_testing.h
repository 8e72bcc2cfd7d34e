// TestNode is a REST server over a real cache and driver that is alone, or has peers that never
// answer. Thread safety: none, but for what its parts say.
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <thread>

#include "integration/eventually.h"
#include "raw_client.h"
#include "rest/rest_server.h"

namespace podmirror::rest {

struct TestNodeOptions {
  int workers = 2;
  bool start_ready = true;
  std::uint64_t max_memory = 0;
  std::size_t max_value_bytes = 1024;
  std::size_t max_batch_bytes = 4096;
  int max_connections = 1024;
  std::int64_t request_timeout_ms = 10'000;
  int max_watchers = 4096;
  std::uint64_t change_log_bytes = 1024 * 1024;
  std::string illness = {};
  // Who may do what, and who is told; null: everybody everything, and nobody.
  const trust::Guard* guard = nullptr;
  const trust::Audit* audit = nullptr;
  // With it, there is a port for TLS too.
  const trust::Keyring* keyring = nullptr;
};

class SilentTransport final : public sync::Transport {
 public:
  void Dial(sync::ConnId, const PodRecord&, bool) override {}
  void Wake(sync::ConnId) override {}
  void Close(sync::ConnId) override {}
};

class TestNode {
 public:
  explicit TestNode(const TestNodeOptions& options = {})
      : changes(options.change_log_bytes),
        driver(SyncOptions(options), cache, Env::Real(), transport, {}),
        feeds(cache, changes,
              {.incarnation = driver.incarnation(), .max_watchers = options.max_watchers}),
        access(options.guard != nullptr ? *options.guard : open,
               options.audit != nullptr ? *options.audit : quiet),
        server(ServerOptions(options),
               {cache, changes, feeds, driver, metrics, Env::Real(),
                [] { return DiscoveryView{"static", true, 0, 7, 1, ""}; },
                [illness = options.illness] { return illness; }, options.keyring, access, scan}),
        ticker_([this] {
          while (!stop_) {
            driver.Tick();
            std::this_thread::sleep_for(std::chrono::milliseconds(sync::Driver::kTickMs));
          }
        }) {
    REQUIRE(server.Start().ok());
    if (options.start_ready) BecomeReady();
  }
  ~TestNode() {
    server.Stop();
    scan.Stop();
    stop_ = true;
    ticker_.join();
  }

  std::uint16_t port() const { return server.port(); }
  std::uint16_t tls_port() const { return server.port(PortKind::kTls); }

  void BecomeReady() {
    RemovePeers();
    REQUIRE(Eventually([this] { return driver.ready(); }));
  }
  void RemovePeers() {
    PeerSet set;
    set.self_listed = true;
    driver.SetPeers(set);
  }
  // A peer that is dialled and never answers: thought reachable until the dial times out.
  void AddReachablePeer(const std::string& name) {
    PodRecord peer;
    peer.uid = "uid-" + name;
    peer.name = name;
    peer.ip = "127.0.0.1";
    peer.port = 1;
    PeerSet set;
    set.self_listed = true;
    set.peers.push_back(peer);
    driver.SetPeers(set);
  }

  // One request on its own connection.
  RawAnswer Ask(std::string_view method, std::string_view target, std::string_view body = "",
                std::string_view lines = "") {
    RawClient client(port());
    client.Send(MakeRequest(method, target, body, lines));
    const auto answer = client.Read(method != "HEAD");
    REQUIRE(answer);
    return *answer;
  }

  ChangeLog changes;
  Cache cache{&changes};
  SilentTransport transport;
  sync::Driver driver;
  watch::Feeds feeds;
  telemetry::Metrics metrics;
  const trust::Guard open{Env::Real()};
  const trust::Audit quiet{trust::Audit::Level::kOff, nullptr};
  const trust::Access access;
  net::BulkThread scan{"scan"};
  RestServer server;

 private:
  static sync::NodeOptions SyncOptions(const TestNodeOptions& options) {
    sync::NodeOptions node;
    node.self = {.name = "self", .ns = "default", .uid = "uid-self", .ip = "127.0.0.1"};
    node.cluster = "default/test";
    node.max_memory = options.max_memory;
    return node;
  }
  static RestOptions ServerOptions(const TestNodeOptions& options) {
    RestOptions rest;
    rest.ports = {{.listen = "127.0.0.1:0"}};
    if (options.keyring != nullptr) {
      rest.ports.push_back({.listen = "127.0.0.1:0", .kind = PortKind::kTls});
    }
    rest.workers = options.workers;
    rest.items.max_value_bytes = options.max_value_bytes;
    rest.max_batch_bytes = options.max_batch_bytes;
    rest.max_connections = options.max_connections;
    rest.request_timeout_ms = options.request_timeout_ms;
    rest.name = "self";
    return rest;
  }

  std::atomic<bool> stop_{false};
  std::thread ticker_;
};

}  // namespace podmirror::rest
