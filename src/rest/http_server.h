// HttpServer serves HTTP/1.1 on some ports, plain or with TLS: own sockets, one epoll loop per
// worker thread, own framing. A connection belongs to one worker for life, so that a request costs
// no change in epoll, and connections share no lock of the server. Handlers must not block, so that
// a connection that is idle or waits for its answer holds no worker.
//
// Thread safety: Start and Stop from one thread; the handler is called from worker threads.
// Invariants: (1) requests of one connection are answered one at a time, in order.
//             (2) connections, buffered bytes and every wait are bounded (HttpOptions).
//             (3) urgent requests are answered between any two others, on connections beyond
//                 max_connections too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/env.h"
#include "base/status.h"
#include "rest/http.h"
#include "rest/http_frame.h"
#include "trust/keyring.h"

namespace podmirror::rest {

struct HttpPort {
  std::string listen;  // "[::]:8080"; port 0: the kernel chooses
  PortKind kind = PortKind::kPlain;
  std::string name = "rest-listen";  // of its setting, for errors
};

struct HttpOptions {
  std::vector<HttpPort> ports = {{.listen = "[::]:8080"}};  // each of another kind
  // What a TLS port proves itself with; null when there is none.
  const trust::Keyring* keyring = nullptr;
  BodyLimits body_limits = {};
  int max_connections = 1024;
  std::int64_t request_timeout_ms = 10'000;
  int workers = 2;
};

// What the server serves. Thread safety: all calls from any worker at once.
class Handler {
 public:
  virtual ~Handler() = default;
  // Returns the answer, or none: then `responder` gets the answer later, or has got it already.
  // Must not block and must not touch the request after it returned.
  virtual std::optional<Response> Handle(const Request& request,
                                         const std::shared_ptr<Responder>& responder) = 0;
  // Calls `work`, in which a worker handles the requests that came together: an answer that other
  // machines owe may be asked for when it returns.
  virtual void Round(absl::FunctionRef<void()> work) = 0;
  // True for requests that are answered before all others, whatever the load: health checks.
  virtual bool IsUrgent(std::string_view target) const = 0;
  // A client could not agree with us on TLS.
  virtual void HandshakeFailed() = 0;
  // A request was answered `status` without having reached Handle.
  virtual void Refused(int status) = 0;
  // `change` more connections are open; negative: fewer.
  virtual void Connections(int change) = 0;
  // It owes answers that depend on what HttpServer::Changed tells.
  virtual bool Waits() const { return false; }
  // Gives such answers, as far as they can be given now; at the end of each worker's round. True
  // when there are more than fit into a round.
  virtual bool Look() { return false; }
  // Several times a second while there are connections, from each worker.
  virtual void Tick() {}
  // True while the cache stores this entry, so that a connection that holds it, too, costs nothing.
  virtual bool Holds(const Entry& entry) const = 0;
};

class Worker;
struct ServerState;

// A port that is open.
struct Listener {
  int fd = -1;
  PortKind kind = PortKind::kPlain;
};

class HttpServer {
 public:
  // `handler` must outlive the last answer that it owes; `env` too.
  HttpServer(HttpOptions options, Handler& handler, Env& env);
  ~HttpServer();

  // Listens and starts the workers. kUnavailable with the reason when an address is taken.
  Status Start();
  // From now on each answer closes its connection, so that the client connects again: to another
  // server, once the load balancer knows that this one leaves. Everything else goes on as before.
  void Leave();
  // What streams tell has changed, and what requests wait for: soon each stream is asked for more,
  // and the handler looks. From any thread; costs next to nothing where nobody waits.
  void Changed();
  // Closes the ports and idle connections, gives requests in flight `grace_ms`, then cuts them.
  // Answers that come later are dropped. Idempotent.
  void Stop(std::int64_t grace_ms = 2'000);
  // The bound port of this kind; 0 when there is none. Requires: Start was ok.
  std::uint16_t port(PortKind kind) const;

 private:
  const HttpOptions options_;
  Handler& handler_;
  Env& env_;
  std::vector<Listener> listeners_;
  const std::shared_ptr<ServerState> state_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
};

}  // namespace podmirror::rest
