// The part of Routes that waits for changes.
#include <utility>

#include "rest/answers.h"
#include "rest/routes.h"
#include "rest/watch_stream.h"

namespace podmirror::rest {

std::optional<Response> Routes::Wait(const Call& call, EntryRead read, std::uint64_t as_of,
                                     std::int64_t wait_ms) {
  const auto answer = [responder = call.responder, metrics = &context_.metrics, env = &context_.env,
                       method = call.method, start_ns = call.start_ns](Response response) {
    metrics->RestRequest(method, "cache_entry", response.status,
                         static_cast<double>(env->steady_ns() - start_ns) * 1e-9);
    responder->Answer(std::move(response));
  };
  const auto left = [responder = call.responder] { return responder->left(); };
  const SteadyMs until = context_.env.now().steady + wait_ms;
  if (polls_.Add({std::move(read), as_of, until, answer, left})) return std::nullopt;
  return ProblemResponse(Problem::kOverloaded, "too many watchers");
}

Response Routes::Watch(const Call& call) const {
  WatchQuery query;
  if (auto refusal = ParseWatchQuery(call.query, query)) return ProblemResponse(*refusal);
  auto filter = watch::Filter::For(std::move(query.types), std::move(query.prefix), call.asker,
                                   context_.access);
  if (!filter.ok()) return *Forbidden(filter.status());
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  const WatchFormat format = WatchFormat::Of(call.request);
  const watch::Start start = StartOf(call.request, query);
  auto feed = context_.feeds.Get(std::move(*filter), format.name(),
                                 format.Encoder(context_.feeds.incarnation()));
  Response response;
  response.stream = NewWatchStream(std::move(feed), start, format, StandingOf(call), context_.env);
  if (!response.stream) return ProblemResponse(Problem::kOverloaded, "too many watchers");
  response.content_type = format.content_type();
  // What buffers on the way would hold events back.
  response.headers = "X-Accel-Buffering: no\r\n";
  if (format.chunked) response.headers += "Transfer-Encoding: chunked\r\n";
  return response;
}

}  // namespace podmirror::rest
