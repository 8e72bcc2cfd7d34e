// A TCP relay on loopback between a source and an etcd: it can cut, hold and count.
#pragma once

#include <atomic>
#include <list>
#include <string>
#include <thread>

namespace podmirror::discovery {

class TestRelay {
 public:
  // To 127.0.0.1:`port`.
  explicit TestRelay(int port);
  ~TestRelay();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // Connections that were taken so far.
  int accepted() const { return accepted_; }

  // Closes all connections, and each new one at once; or takes them again.
  void SetCut(bool cut) { cut_ = cut; }
  // Takes connections and bytes, and passes nothing on until it is let go.
  void SetHeld(bool held) { held_ = held; }

 private:
  struct Pair {
    int near;  // the source's side
    int far;
  };

  void Run();
  void Accept();

  const int to_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> accepted_ = 0;
  std::atomic<bool> cut_ = false;
  std::atomic<bool> held_ = false;
  std::atomic<bool> stop_ = false;
  std::list<Pair> pairs_;  // the thread's only
  std::thread thread_;
};

}  // namespace podmirror::discovery
