// A real etcd on a loopback port of its own, with v2 API, and pods to put into it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "discovery/peer_source.h"
#include "etcd/rpc.grpc.pb.h"

namespace podmirror::discovery {

// A port that nothing listens on now.
int FreePort();

class TestEtcd {
 public:
  // Started and answering.
  TestEtcd();
  // Not started.
  explicit TestEtcd(int port);
  ~TestEtcd();

  void Start();
  // kill -9; the data stay.
  void Kill();
  void Wipe();   // the data are gone; requires: not running
  void Pause();  // SIGSTOP
  void Resume();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }
  EtcdOptions options() const;

  std::int64_t Put(const std::string& key, const std::string& value);
  std::int64_t Delete(const std::string& key);
  void Compact(std::int64_t revision);

  // POST to the HTTP gateway of the v3 API; returns the body.
  std::string Gateway(const std::string& path, const std::string& json);
  void V2Put(const std::string& key, const std::string& value);
  void V2Delete(const std::string& key, bool recursive);

 private:
  const int port_;
  std::string dir_;
  pid_t pid_ = -1;
  std::unique_ptr<etcdserverpb::KV::Stub> kv_;
};

// The record of a running pod relay-<number>, UID u-<number>, in namespace default.
std::string PodJson(int number);

}  // namespace podmirror::discovery
