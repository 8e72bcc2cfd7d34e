// A real `etcd grpc-proxy` on a loopback port of its own, before a TestEtcd.
#pragma once

#include <string>

#include "test_etcd.h"

namespace podmirror::discovery {

class TestProxy {
 public:
  // Started, and the etcd answers through it.
  explicit TestProxy(const TestEtcd& etcd);
  ~TestProxy();

  void Kill();
  // Where a source is to find it.
  EtcdOptions options() const;

 private:
  const int port_ = FreePort();
  pid_t pid_;
};

}  // namespace podmirror::discovery
