// RpcServer is the gRPC port of the daemon: the services given, grpc.health.v1 and reflection.
// All calls come to one queue, whatever their method: handlers are found by its name.
// Thread safety: SetServing and Leave from any thread; the rest from the thread that owns it.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/status.h"
#include "net/grpc_queue.h"
#include "rpc/bulk_thread.h"
#include "rpc/health_service.h"
#include "rpc/reflection_service.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {

class RpcServer {
 public:
  // Listens on `host` (an address or a name, without brackets; "::" is both IPv6 and IPv4, and IPv4
  // alone on a machine without IPv6) and begins to serve. port 0: the kernel chooses. No other
  // server may use `queue`. kUnavailable with the reason when the port cannot be had.
  static Result<std::unique_ptr<RpcServer>> Start(const std::string& host, std::uint16_t port,
                                                  net::GrpcQueue& queue, BulkThread& bulk,
                                                  const std::vector<Service*>& services);

  // Requires: Stop has returned true.
  ~RpcServer();

  std::uint16_t port() const { return port_; }

  // What grpc.health.v1 tells, for the whole server ("") and for the services of applications. Not
  // serving until told.
  void SetServing(bool serving);

  // grpc.health.v1 says from now on, and for good, that nothing serves; calls go on as before.
  void Leave();

  // Takes no more calls, waits up to `grace` for those that run, cancels the rest and waits until
  // they are gone. False when some are not gone after kGoneMs: then neither this nor the queue may
  // be destroyed. Requires: PeerTransport::Stop came first, or its streams use up the grace.
  bool Stop(absl::Duration grace);

 private:
  static constexpr std::int64_t kGoneMs = 1'000;

  RpcServer(net::GrpcQueue& queue, BulkThread& bulk) : queue_(queue), health_(bulk) {}

  void Await();

  net::GrpcQueue& queue_;
  HealthService health_;
  ReflectionService reflection_;
  Methods methods_;
  CallCount count_;
  grpc::AsyncGenericService calls_;
  std::unique_ptr<grpc::Server> server_;
  std::uint16_t port_ = 0;
};

}  // namespace podmirror::rpc
