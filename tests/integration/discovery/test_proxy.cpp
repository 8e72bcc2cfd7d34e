#include "test_proxy.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <chrono>

namespace podmirror::discovery {

TestProxy::TestProxy(const TestEtcd& etcd)
    : pid_(Spawn({"etcd", "grpc-proxy", "start", "--endpoints=" + etcd.url(),
                  "--listen-addr=127.0.0.1:" + std::to_string(port_)})) {
  const auto kv = etcdserverpb::KV::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  context.set_wait_for_ready(true);
  etcdserverpb::RangeRequest request;
  request.set_key("x");
  etcdserverpb::RangeResponse response;
  const grpc::Status status = kv->Range(&context, request, &response);
  INFO(status.error_message());
  REQUIRE(status.ok());
}

TestProxy::~TestProxy() { Kill(); }

void TestProxy::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

EtcdOptions TestProxy::options() const {
  EtcdOptions options;
  options.endpoints = {"http://127.0.0.1:" + std::to_string(port_)};
  return options;
}

}  // namespace podmirror::discovery
