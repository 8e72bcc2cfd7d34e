// RpcServer is the gRPC ports of the daemon: the services given, grpc.health.v1 and reflection.
// All calls come to one queue, whatever their method: handlers are found by its name, and get a
// call only when it is known who makes it, unless their method is open to anybody. Thread safety:
// SetServing and Leave from any thread; the rest from the thread that owns it.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/status.h"
#include "net/bulk_thread.h"
#include "net/grpc_queue.h"
#include "rpc/callers.h"
#include "rpc/doorman.h"
#include "rpc/health_service.h"
#include "rpc/reflection_service.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {

// One that the server listens on.
struct RpcPort {
  std::string listen;  // as net::OpenListener has it
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  std::string name = "grpc-listen";  // of its setting, for errors
};

class RpcServer {
 public:
  // Listens and begins to serve. on_turned_away: of each Doorman. No other server may use `queue`;
  // all that is passed must outlive the server. kUnavailable with the setting and the reason when a
  // port cannot be had.
  static Result<std::unique_ptr<RpcServer>> Start(const std::vector<RpcPort>& ports,
                                                  net::GrpcQueue& queue, net::BulkThread& bulk,
                                                  const trust::Access& access, Callers& callers,
                                                  const std::function<void()>& on_turned_away,
                                                  const std::vector<Service*>& services);

  // Requires: Stop has returned true.
  ~RpcServer();

  // The bound port of the one at this place in `ports`.
  std::uint16_t port(std::size_t place = 0) const { return doormen_.at(place)->port(); }

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

  RpcServer(net::GrpcQueue& queue, net::BulkThread& bulk, const trust::Access& access,
            Callers& callers)
      : queue_(queue), access_(access), callers_(callers), health_(bulk), reflection_(access) {}

  void Await();
  void Serve(const std::shared_ptr<ServerCall>& call);

  net::GrpcQueue& queue_;
  const trust::Access& access_;
  Callers& callers_;
  HealthService health_;
  ReflectionService reflection_;
  Methods methods_;
  CallCount count_;
  grpc::AsyncGenericService calls_;
  std::vector<std::shared_ptr<grpc::ServerCredentials>> credentials_;  // the server uses them
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<Doorman>> doormen_;  // of each port
};

}  // namespace podmirror::rpc
