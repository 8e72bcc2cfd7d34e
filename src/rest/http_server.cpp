#include "rest/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "net/listener.h"
#include "rest/http_worker.h"

namespace podmirror::rest {
namespace {

// What all connections together may hold in bodies received and answers not yet taken.
constexpr std::size_t kMinBudgetBytes = 32 * 1024 * 1024;

std::size_t BudgetBytes(const BodyLimits& limits) {
  return std::max({kMinBudgetBytes, 2 * limits.max_batch_bytes, 2 * limits.max_value_bytes});
}

}  // namespace

HttpServer::HttpServer(HttpOptions options, Handler& handler, Env& env)
    : options_(std::move(options)),
      handler_(handler),
      env_(env),
      state_(std::make_shared<ServerState>(options_, BudgetBytes(options_.body_limits), env_)) {
  for (int i = 0; i < options_.workers; ++i) state_->inboxes.push_back(std::make_shared<Inbox>());
}

HttpServer::~HttpServer() { Stop(); }

Status HttpServer::Start() {
  for (const HttpPort& port : options_.ports) {
    auto fd = net::OpenListener(port.listen);
    if (!fd.ok()) return {fd.status().code(), port.name + ": " + fd.status().message()};
    listeners_.push_back({*fd, port.kind});
  }
  net::RaiseFileLimit();
  for (const auto& inbox : state_->inboxes) {
    workers_.push_back(std::make_unique<Worker>(state_, inbox, handler_, env_, listeners_));
    if (Status status = workers_.back()->Open(); !status.ok()) {
      Stop();
      return status;
    }
  }
  for (const auto& worker : workers_) {
    threads_.emplace_back([&worker = *worker] { worker.Run(); });
  }
  return {};
}

void HttpServer::Leave() { state_->leaving.store(true, std::memory_order_relaxed); }

void HttpServer::Changed() {
  bool look = handler_.Waits();  // one worker is enough
  for (const auto& inbox : state_->inboxes) inbox->Changed(std::exchange(look, false));
}

void HttpServer::Stop(std::int64_t grace_ms) {
  // First, so that no answer promises to keep its connection when nobody is let in any more.
  state_->stop_grace_ms.store(grace_ms, std::memory_order_relaxed);
  state_->stopping.store(true, std::memory_order_release);
  // It is not enough that the workers stop accepting: the kernel would go on letting clients in,
  // and they would be cut off without an answer.
  for (const Listener& listener : listeners_) shutdown(listener.fd, SHUT_RDWR);
  for (const auto& inbox : state_->inboxes) inbox->Wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  workers_.clear();
  for (const Listener& listener : listeners_) close(listener.fd);
  listeners_.clear();
}

std::uint16_t HttpServer::port(PortKind kind) const {
  const auto found = std::find_if(listeners_.begin(), listeners_.end(),
                                  [kind](const Listener& one) { return one.kind == kind; });
  return found == listeners_.end() ? 0 : net::BoundPort(found->fd);
}

}  // namespace podmirror::rest
