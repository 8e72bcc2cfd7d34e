// A client of fake daemons, whose set of daemons a test can change.
// Thread safety: one test thread.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "discovery/peer_source.h"
#include "integration/client/cut_proxy.h"
#include "integration/client/fake_cache.h"

namespace podmirror::client {

using std::chrono::milliseconds;

inline PeerSet SetOf(const std::vector<int>& ports) {
  PeerSet set;
  for (const int port : ports) {
    PodRecord& peer = set.peers.emplace_back();
    peer.name = "daemon-" + std::to_string(port);
    peer.ip = "127.0.0.1";
    peer.port = static_cast<std::uint16_t>(port);
  }
  return set;
}

// Tells what the test says, in the test's thread.
class TestSource final : public discovery::PeerSource {
 public:
  explicit TestSource(std::vector<int> ports) : ports_(std::move(ports)) {}

  void Start(discovery::SourceEvents events) override {
    events_ = std::move(events);
    Tell(ports_);
  }
  void Stop() override {}
  void Refresh() override {}
  void Tell(const std::vector<int>& ports) { events_.peers(SetOf(ports), 0); }
  void Fail(const std::string& error) { events_.failed(error); }

 private:
  const std::vector<int> ports_;
  discovery::SourceEvents events_;
};

struct Tested {
  explicit Tested(const std::vector<int>& ports, Options options = {}) {
    auto made = std::make_unique<TestSource>(ports);
    source = made.get();
    auto started = Client::New(options, std::move(made));
    REQUIRE(started.ok());
    client = std::move(*started);
  }

  // Until all these daemons, and no others, are ready.
  bool WaitReady(std::size_t count) {
    return Eventually([&] {
      std::size_t ready = 0;
      for (const Daemon& daemon : client->GetDaemons().daemons) {
        ready += daemon.state == DaemonState::kReady ? 1 : 0;
      }
      return ready == count;
    });
  }

  Client* operator->() { return client.get(); }

  TestSource* source = nullptr;
  std::unique_ptr<Client> client;
};

class Stopwatch {
 public:
  milliseconds elapsed() const {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin_);
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace podmirror::client
