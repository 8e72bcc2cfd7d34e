#include "rest/routes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "rest/answers.h"
#include "rest/documents.h"

namespace podmirror::rest {
namespace {

struct RouteRow {
  Route route;
  std::string_view path;  // empty: MatchRoute finds the row by the shape of a path
  std::string_view name;  // for metrics
  std::string_view allow;
  // What its reads need, where that does not depend on an entry; nothing: each caller may.
  std::optional<trust::Verb> verb = std::nullopt;
};

constexpr std::string_view kRead = "GET, HEAD";
constexpr std::array<RouteRow, 12> kRoutes = {{
    {Route::kNone, "", "none", ""},
    {Route::kHealthz, "/healthz", "healthz", kRead},
    {Route::kReadyz, "/readyz", "readyz", kRead},
    {Route::kMetrics, "/metrics", "metrics", kRead, trust::Verb::kMetrics},
    {Route::kStatus, "/v1/status", "status", kRead, trust::Verb::kStatus},
    {Route::kPeers, "/v1/peers", "peers", kRead, trust::Verb::kStatus},
    {Route::kTls, "/v1/tls", "tls", kRead, trust::Verb::kStatus},
    {Route::kWhoami, "/v1/whoami", "whoami", kRead},
    {Route::kWatch, "/v1/watch", "watch", "GET"},
    {Route::kCache, "/v1/cache", "cache", "GET, HEAD, POST", trust::Verb::kStatus},
    {Route::kCacheType, "", "cache_type", "GET, HEAD, DELETE"},
    {Route::kCacheEntry, "", "cache_entry", "GET, HEAD, PUT, DELETE"},
}};

constexpr const RouteRow& RowOf(Route route) { return kRoutes[static_cast<std::size_t>(route)]; }

// The method as a text that outlives the request; "other" for those that no route knows.
std::string_view StaticMethod(std::string_view method) {
  constexpr std::array<std::string_view, 5> kMethods = {"GET", "PUT", "DELETE", "HEAD", "POST"};
  const auto* found = std::find(kMethods.begin(), kMethods.end(), method);
  return found == kMethods.end() ? "other" : *found;
}

bool Allows(std::string_view allow, std::string_view method) {
  while (!allow.empty()) {
    const std::size_t end = std::min(allow.find(", "), allow.size());
    if (allow.substr(0, end) == method) return true;
    allow.remove_prefix(std::min(end + 2, allow.size()));
  }
  return false;
}

bool HasEncoding(const Request& request) {
  return std::any_of(request.fields.begin(), request.fields.end(), [](const Field& field) {
    return Request::IsNamed(field, "content-encoding") && !field.value.empty() &&
           !EqualsIgnoreCase(field.value, "identity");
  });
}

// True when an answer would depend on a condition that is not supported. If-Range does not count:
// it belongs to Range, which is ignored. Nor does If-Modified-Since beside If-None-Match (RFC 9110,
// 13.1.3).
// Of a write of one entry ParseCondition looks at the other two.
bool HasUnsupportedCondition(const Request& request, bool of_entry, bool reads) {
  const auto has = [&request](std::string_view name) { return request.Find(name) != nullptr; };
  const bool none_match = has("if-none-match");
  return (none_match && !of_entry) || (!none_match && has("if-modified-since")) ||
         (has("if-match") && (reads || !of_entry)) || has("if-unmodified-since");
}

absl::InlinedVector<std::string_view, 2> Authorizations(const Request& request) {
  absl::InlinedVector<std::string_view, 2> authorizations;
  for (const Field& field : request.fields) {
    if (Request::IsNamed(field, "authorization")) authorizations.push_back(field.value);
  }
  return authorizations;
}

}  // namespace

RouteMatch MatchRoute(std::string_view path) {
  constexpr std::string_view kCachePrefix = "/v1/cache/";
  if (path.starts_with(kCachePrefix)) {
    const std::string_view rest = path.substr(kCachePrefix.size());
    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos) return {Route::kCacheType, rest, {}};
    return {Route::kCacheEntry, rest.substr(0, slash), rest.substr(slash + 1)};
  }
  for (const RouteRow& row : kRoutes) {
    if (!row.path.empty() && row.path == path) return {row.route, {}, {}};
  }
  return {};
}

Routes::Routes(RestOptions options, RestContext context)
    : options_(std::move(options)),
      context_(std::move(context)),
      started_at_(context_.env.now().steady),
      polls_(context_.feeds, context_.env) {}

void Routes::Stop() { stopping_ = true; }

void Routes::Round(absl::FunctionRef<void()> work) {
  const sync::Driver::Round round(context_.driver);
  work();
}

bool Routes::IsUrgent(std::string_view target) const {
  const std::string_view path = SplitTarget(target).path;
  return path == RowOf(Route::kHealthz).path || path == RowOf(Route::kReadyz).path;
}

void Routes::HandshakeFailed() { context_.metrics.TlsRefused("rest"); }

void Routes::Refused(int status) {
  context_.metrics.RestRequest("other", RowOf(Route::kNone).name, status, 0);
}

void Routes::Connections(int change) { context_.metrics.RestConnections(change); }

bool Routes::Holds(const Entry& entry) const {
  return context_.cache.Peek(entry.type(), entry.key()).get() == &entry;
}

std::optional<Response> Routes::Handle(const Request& request,
                                       const std::shared_ptr<Responder>& responder) {
  const Target target = SplitTarget(request.target);
  Call call{request,
            responder,
            MatchRoute(target.path),
            target.query,
            StaticMethod(request.method),
            context_.env.steady_ns()};
  std::optional<Response> response = Dispatch(call);
  if (response) {
    context_.metrics.RestRequest(
        call.method, RowOf(call.match.route).name, response->status,
        static_cast<double>(context_.env.steady_ns() - call.start_ns) * 1e-9);
  }
  return response;
}

std::optional<Response> Routes::Dispatch(Call& call) {
  const RouteRow& row = RowOf(call.match.route);
  const bool health = row.route == Route::kHealthz || row.route == Route::kReadyz;
  if (call.responder->client().port == PortKind::kHealth && !health &&
      row.route != Route::kMetrics) {
    return ProblemResponse(Problem::kNoSuchRoute, "this port is for health and metrics alone");
  }
  if (!health) {
    if (auto refused = Identify(call)) return refused;
  }
  if (row.route == Route::kNone) return ProblemResponse(Problem::kNoSuchRoute, "no such path");
  if (!Allows(row.allow, call.request.method)) {
    Response response = ProblemResponse(Problem::kMethodNotAllowed,
                                        absl::StrCat("allowed: ", std::string(row.allow)));
    absl::StrAppend(&response.headers, "Allow: ", std::string(row.allow), "\r\n");
    return response;
  }
  return Answer(call);
}

std::optional<Response> Routes::Answer(const Call& call) {
  const RouteRow& row = RowOf(call.match.route);
  if (HasEncoding(call.request)) {
    Response response =
        ProblemResponse(Problem::kUnsupportedEncoding, "send the bytes as they are");
    response.headers += "Accept-Encoding: identity\r\n";
    return response;
  }
  const bool read = call.method == "GET" || call.method == "HEAD";
  if (HasUnsupportedCondition(call.request, row.route == Route::kCacheEntry, read)) {
    return ProblemResponse(Problem::kPreconditionUnsupported,
                           "the only conditions are If-None-Match on one entry, and If-Match on a "
                           "write of one");
  }
  if (row.route == Route::kCacheEntry) return read ? Get(call) : WriteEntry(call);
  if (call.method == "POST") return WriteBatch(call);
  if (row.route == Route::kCacheType) return read ? List(call) : DeleteBelow(call);
  if (row.route == Route::kWatch) return Watch(call);
  if (row.verb) {
    if (auto refused = Permit(call, {*row.verb})) return refused;
  }
  if (auto refusal = RefuseQuery(call.query)) return ProblemResponse(*refusal);
  switch (row.route) {
    case Route::kHealthz:
      return Healthz();
    case Route::kReadyz:
      return Readyz();
    case Route::kMetrics:
      return Metrics();
    case Route::kStatus:
      return NodeStatus();
    case Route::kPeers:
      return Peers();
    case Route::kTls:
      return Json(TlsDocument(context_.keyring));
    case Route::kWhoami:
      return Json(WhoamiDocument(*call.asker.subject));
    case Route::kCache:
      return Types(call);
    default:
      return ProblemResponse(Problem::kNoSuchRoute, "no such path");
  }
}

// --- who may do what ---

std::optional<Response> Routes::Identify(Call& call) const {
  absl::InlinedVector<std::string_view, 2> authorizations;
  if (!context_.access.open()) authorizations = Authorizations(call.request);
  const Client& client = call.responder->client();
  auto asker = context_.access.Identify(authorizations, client.certificate.get(),
                                        std::string(call.method), client.ip);
  if (!asker.ok()) return ProblemResponse(Problem::kUnauthorized, asker.status().message());
  call.asker = std::move(*asker);
  return std::nullopt;
}

trust::Standing Routes::StandingOf(const Call& call) const {
  std::vector<std::string> authorizations;
  for (const std::string_view one : Authorizations(call.request)) authorizations.emplace_back(one);
  return {context_.access, std::move(authorizations), call.responder->client().certificate,
          call.asker};
}

std::optional<Response> Routes::Permit(const Call& call, const trust::Matter& matter) const {
  return Forbidden(context_.access.Permit(call.asker, matter));
}

// --- this pod ---

Response Routes::Healthz() const {
  const std::string illness = context_.illness();
  if (illness.empty()) return Text("ok\n");
  return ProblemResponse(Problem::kNotReady, illness);
}

Response Routes::Readyz() const {
  const sync::NodeStatus status = context_.driver.Status();
  if (status.ready) {
    // A pod that is ready stays ready, whatever happens to discovery and to its certificate; the
    // answer names the trouble.
    std::string text = "ready\n";
    if (const std::string error = context_.discovery().error; !error.empty()) {
      text += "discovery: " + error + "\n";
    }
    if (context_.keyring != nullptr) {
      const WallMs until = context_.keyring->current()->own().not_after();
      if (context_.env.now().wall > until) {
        text += "tls: our certificate expired " + trust::ToUtcText(until) + "\n";
      }
    }
    return Text(std::move(text));
  }
  const bool draining = status.state == sync::NodeState::kDraining;
  return ProblemResponse(draining ? Problem::kDraining : Problem::kNotReady, status.reason);
}

Response Routes::Metrics() const {
  return Document(200, "text/plain; version=0.0.4; charset=utf-8", context_.metrics.Render());
}

Response Routes::NodeStatus() const {
  return Json(StatusDocument({.options = options_,
                              .node = context_.driver.Status(),
                              .cache = context_.cache.Stats(),
                              .digest = context_.cache.digest(),
                              .uptime_ms = context_.env.now().steady - started_at_,
                              .discovery = context_.discovery()}));
}

Response Routes::Peers() const { return Json(PeersDocument(context_.driver.Peers())); }

}  // namespace podmirror::rest
