#include "rest/rest_server.h"

#include <algorithm>

#include "rest/routes.h"

namespace podmirror::rest {
namespace {

HttpOptions HttpOptionsOf(const RestOptions& options, const trust::Keyring* keyring) {
  return {.ports = options.ports,
          .keyring = keyring,
          .body_limits = {options.items.max_value_bytes, options.max_batch_bytes},
          .max_connections = std::max(options.max_connections, 1),
          .request_timeout_ms = std::max<std::int64_t>(options.request_timeout_ms, 1),
          .workers = std::max(options.workers, 1)};
}

}  // namespace

struct RestServer::Impl {
  Impl(const RestOptions& options, const RestContext& context)
      : routes(options, context),
        server(HttpOptionsOf(options, context.keyring), routes, context.env) {
    context.changes.AddListener([this] { server.Changed(); });
  }

  Routes routes;
  HttpServer server;  // stops before the routes go
};

RestServer::RestServer(const RestOptions& options, const RestContext& context)
    : impl_(std::make_unique<Impl>(options, context)) {}
RestServer::~RestServer() = default;

Status RestServer::Start() { return impl_->server.Start(); }
void RestServer::Leave() { impl_->server.Leave(); }
void RestServer::Stop(std::int64_t grace_ms) {
  impl_->routes.EndWaits();
  impl_->server.Stop(grace_ms);
  impl_->routes.Stop();
}
std::uint16_t RestServer::port(PortKind kind) const { return impl_->server.port(kind); }

}  // namespace podmirror::rest
