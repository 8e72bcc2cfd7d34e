// Doorman accepts the connections of a gRPC port in gRPC's place, and lets in whom Callers admits:
// who is refused as a peer and dials on without end is turned away before the handshake, for a
// hundredth of what that would cost.
// Thread safety: all calls from the thread that owns it. It has a thread of its own, from Start to
// Stop.
#pragma once

#include <grpcpp/server_builder.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/status.h"
#include "rpc/callers.h"

namespace podmirror::rpc {

class Doorman {
 public:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  // Listens on `address` (net/listener.h). on_turned_away: called for each connection that is not
  // let in; may be empty. `callers` must outlive this. Fails as net::OpenListener.
  static Result<std::unique_ptr<Doorman>> Open(const std::string& address, Callers& callers,
                                               std::function<void()> on_turned_away);
  ~Doorman();

  std::uint16_t port() const;

  // Once the server of `acceptor` has been started. Call each once; Stop before that server goes.
  void Start(std::unique_ptr<Acceptor> acceptor);
  // Takes no more connections.
  void Stop();

 private:
  Doorman(int listen_fd, int wake_fd, Callers& callers, std::function<void()> on_turned_away)
      : listen_fd_(listen_fd),
        wake_fd_(wake_fd),
        callers_(callers),
        on_turned_away_(std::move(on_turned_away)) {}

  void Run();
  // False when nothing more can be accepted for now.
  bool AcceptOne();

  const int listen_fd_;
  const int wake_fd_;  // readable: stop
  Callers& callers_;
  const std::function<void()> on_turned_away_;
  std::unique_ptr<Acceptor> acceptor_;
  std::thread thread_;
};

}  // namespace podmirror::rpc
