// RpcServer is the gRPC port of the daemon: the services given, grpc.health.v1 and reflection.
// Thread safety: SetServing from any thread; the rest from the thread that owns it.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/status.h"

namespace podmirror::rpc {

class RpcServer {
 public:
  // Listens on `host` (an address or a name, without brackets; "::" is both IPv6 and IPv4, and IPv4
  // alone on a machine without IPv6) and begins to serve. port 0: the kernel chooses. The services
  // must outlive the server. kUnavailable with the reason when the port cannot be had.
  static Result<std::unique_ptr<RpcServer>> Start(const std::string& host, std::uint16_t port,
                                                  const std::vector<grpc::Service*>& services);

  // As Stop with no grace.
  ~RpcServer();

  std::uint16_t port() const { return port_; }

  // What grpc.health.v1 tells, for the whole server ("") and for the services of applications. Not
  // serving until told.
  void SetServing(bool serving);

  // grpc.health.v1 says from now on, and for good, that nothing serves; calls go on as before.
  void Leave();

  // Takes no more calls, waits up to `grace` for those that run, cancels the rest and waits until
  // they are gone. Requires: PeerTransport::Stop came first, or its streams use up the grace.
  void Stop(absl::Duration grace);

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, std::uint16_t port)
      : server_(std::move(server)), port_(port) {}

  const std::unique_ptr<grpc::Server> server_;
  const std::uint16_t port_;
};

}  // namespace podmirror::rpc
