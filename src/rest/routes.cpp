#include "rest/routes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/accept.h"
#include "rest/batch.h"
#include "rest/documents.h"
#include "rest/listing.h"

namespace podmirror::rest {
namespace {

struct RouteRow {
  Route route;
  std::string_view path;  // empty: MatchRoute finds the row by the shape of a path
  std::string_view name;  // for metrics
  std::string_view allow;
};

constexpr std::string_view kRead = "GET, HEAD";
constexpr std::array<RouteRow, 9> kRoutes = {{
    {Route::kNone, "", "none", ""},
    {Route::kHealthz, "/healthz", "healthz", kRead},
    {Route::kReadyz, "/readyz", "readyz", kRead},
    {Route::kMetrics, "/metrics", "metrics", kRead},
    {Route::kStatus, "/v1/status", "status", kRead},
    {Route::kPeers, "/v1/peers", "peers", kRead},
    {Route::kCache, "/v1/cache", "cache", "GET, HEAD, POST"},
    {Route::kCacheType, "", "cache_type", kRead},
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
bool HasUnsupportedCondition(const Request& request, bool reads_entry) {
  const auto has = [&request](std::string_view name) { return request.Find(name) != nullptr; };
  const bool none_match = has("if-none-match");
  return (none_match && !reads_entry) || (!none_match && has("if-modified-since")) ||
         has("if-match") || has("if-unmodified-since");
}

// True when If-None-Match is "*" or names `etag` (with its quotes); weak tags count, too.
bool NoneMatches(const Request& request, std::string_view etag) {
  return std::any_of(request.fields.begin(), request.fields.end(), [&](const Field& field) {
    return Request::IsNamed(field, "if-none-match") &&
           (field.value == "*" || field.value.find(etag) != std::string_view::npos);
  });
}

Response Document(int status, std::string_view content_type, std::string body) {
  Response response;
  response.status = status;
  response.content_type = content_type;
  response.body = std::move(body);
  return response;
}

Response Text(std::string body) {
  return Document(200, "text/plain; charset=utf-8", std::move(body));
}

Response Json(std::string body, int status = 200) {
  return Document(status, "application/json", std::move(body));
}

int StatusOf(const sync::WriteOutcome& outcome) { return outcome.met ? 200 : 202; }

// What is needed to answer a write once its acknowledgements are in. It holds nothing of the
// server, which may be gone by then.
struct PendingWrite {
  std::shared_ptr<Responder> responder;
  telemetry::Metrics* metrics;
  Env* env;
  std::string_view method;
  std::string_view route;
  std::int64_t start_ns;

  void Answer(std::string document, const sync::WriteOutcome& outcome) const {
    Response response = Json(std::move(document), StatusOf(outcome));
    metrics->RestRequest(method, route, response.status,
                         static_cast<double>(env->steady_ns() - start_ns) * 1e-9);
    responder->Answer(std::move(response));
  }
};

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
      started_at_(context_.env.now().steady) {}

void Routes::Round(absl::FunctionRef<void()> work) {
  const sync::Driver::Round round(context_.driver);
  work();
}

bool Routes::IsUrgent(std::string_view target) const {
  const std::string_view path = SplitTarget(target).path;
  return path == RowOf(Route::kHealthz).path || path == RowOf(Route::kReadyz).path;
}

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
  const Call call{request,
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

std::optional<Response> Routes::Dispatch(const Call& call) {
  const RouteRow& row = RowOf(call.match.route);
  if (row.route == Route::kNone) return ProblemResponse(Problem::kNoSuchRoute, "no such path");
  if (!Allows(row.allow, call.request.method)) {
    Response response = ProblemResponse(Problem::kMethodNotAllowed,
                                        absl::StrCat("allowed: ", std::string(row.allow)));
    absl::StrAppend(&response.headers, "Allow: ", std::string(row.allow), "\r\n");
    return response;
  }
  if (HasEncoding(call.request)) {
    Response response =
        ProblemResponse(Problem::kUnsupportedEncoding, "send the bytes as they are");
    response.headers += "Accept-Encoding: identity\r\n";
    return response;
  }
  const bool read = call.method == "GET" || call.method == "HEAD";
  if (HasUnsupportedCondition(call.request, read && row.route == Route::kCacheEntry)) {
    return ProblemResponse(Problem::kPreconditionUnsupported,
                           "the only condition here is If-None-Match on a read of one entry");
  }
  if (row.route == Route::kCacheEntry) return read ? Get(call) : WriteEntry(call);
  if (call.method == "POST") return WriteBatch(call);
  if (row.route == Route::kCacheType) return List(call);
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
    case Route::kCache:
      return Types(call);
    default:
      return ProblemResponse(Problem::kNoSuchRoute, "no such path");
  }
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
    // A pod that is ready stays ready, whatever happens to discovery; the answer names the error.
    const std::string error = context_.discovery().error;
    return Text(error.empty() ? "ready\n" : "ready\ndiscovery: " + error + "\n");
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

// --- reads ---

std::optional<Refusal> Routes::RefuseRead() const {
  if (context_.driver.ready()) return std::nullopt;
  const sync::NodeStatus status = context_.driver.Status();
  if (status.state != sync::NodeState::kBootstrapping) return std::nullopt;
  return Refusal{Problem::kNotReady, status.reason};
}

std::optional<Refusal> Routes::ParseEntryPath(const RouteMatch& match, std::int32_t& type,
                                              std::string& key) const {
  const auto parsed = ParseType(match.type);
  if (!parsed) {
    return Refusal{Problem::kInvalidType, "the type must be a canonical 32-bit decimal integer"};
  }
  type = *parsed;
  if (!PercentDecode(match.key, key)) {
    return Refusal{Problem::kInvalidKey, "malformed percent-encoding in the key"};
  }
  if (std::string fault = sync::KeyFault(key, options_.items); !fault.empty()) {
    return Refusal{Problem::kInvalidKey, std::move(fault)};
  }
  return std::nullopt;
}

Response Routes::Types(const Call&) const {
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  return Json(TypesDocument(context_.cache.Types()));
}

Response Routes::List(const Call& call) const {
  const auto type = ParseType(call.match.type);
  if (!type) {
    return ProblemResponse(Problem::kInvalidType,
                           "the type must be a canonical 32-bit decimal integer");
  }
  ListQuery query;
  if (auto refusal = ParseListQuery(call.query, query)) return ProblemResponse(*refusal);
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  return Json(ListDocument(context_.cache, *type, query, context_.env.now().wall));
}

Response Routes::Get(const Call& call) const {
  std::int32_t type = 0;
  std::string key;
  if (auto refusal = ParseEntryPath(call.match, type, key)) return ProblemResponse(*refusal);
  if (auto refusal = RefuseQuery(call.query)) return ProblemResponse(*refusal);
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  const WallMs now = context_.env.now().wall;
  EntryRef entry = context_.cache.Find(type, key, now);
  if (!entry) return ProblemResponse(Problem::kNotFound, "no entry of this type and key");
  const std::string etag = absl::StrCat("\"", entry->version().ToString(), "\"");
  Response response;
  response.headers = absl::StrCat("ETag: ", etag, "\r\nVary: Accept\r\n");
  if (entry->expires_at() != 0) {
    absl::StrAppend(&response.headers, "Podmirror-Ttl-Ms: ", entry->expires_at() - now, "\r\n");
  }
  if (NoneMatches(call.request, etag)) {
    response.status = 304;
  } else if (PrefersJson(call.request)) {
    response.content_type = "application/json";
    response.body = EntryDocument(*entry, now);
  } else {
    response.content_type = "application/octet-stream";
    response.value = std::move(entry);
  }
  return response;
}

// --- writes ---

std::optional<Refusal> Routes::ParseWrite(const Call& call, WriteQuery& out) const {
  out.options = {options_.ack, options_.ack_timeout_ms};
  if (auto refusal = ParseWriteQuery(call.query, out)) return refusal;
  // Content-Range marks a part of an upload that is resumed. If the part were stored, readers would
  // take it for the whole value.
  if (call.request.Find("content-range") != nullptr) {
    return Refusal{Problem::kInvalidRequest, "a value is sent whole, without Content-Range"};
  }
  return std::nullopt;
}

Response Routes::RefuseWrite(sync::WriteRefusal refusal) const {
  switch (refusal) {
    case sync::WriteRefusal::kDraining:
      return ProblemResponse(Problem::kDraining, "this pod is going away");
    case sync::WriteRefusal::kOutOfMemory:
      return ProblemResponse(Problem::kOutOfMemory, "max-memory is reached");
    default:
      return ProblemResponse(Problem::kNotReady, context_.driver.Status().reason);
  }
}

std::optional<Response> Routes::WriteEntry(const Call& call) {
  std::int32_t type = 0;
  std::string key;
  if (auto refusal = ParseEntryPath(call.match, type, key)) return ProblemResponse(*refusal);
  WriteQuery query;
  if (auto refusal = ParseWrite(call, query)) return ProblemResponse(*refusal);
  const bool remove = call.method == "DELETE";
  const sync::WriteItem item{.type = type,
                             .key = key,
                             .value = remove ? std::string_view() : call.request.body,
                             .remove = remove,
                             .ttl_ms = query.ttl_ms};
  const PendingWrite pending{call.responder, &context_.metrics, &context_.env,
                             call.method,    "cache_entry",     call.start_ns};
  const sync::WriteRefusal refusal = context_.driver.Write(
      {&item, 1}, query.options, [pending, type, key](const sync::WriteOutcome& outcome) {
        pending.Answer(WriteDocument(type, key, outcome), outcome);
      });
  if (refusal != sync::WriteRefusal::kNone) return RefuseWrite(refusal);
  return std::nullopt;
}

std::optional<Response> Routes::WriteBatch(const Call& call) {
  WriteQuery query;
  if (auto refusal = ParseWrite(call, query)) return ProblemResponse(*refusal);
  Batch batch;
  if (auto refusal = batch.Parse(call.request.body, options_.items, query.ttl_ms)) {
    return ProblemResponse(*refusal);
  }
  const PendingWrite pending{call.responder, &context_.metrics, &context_.env,
                             call.method,    "cache",           call.start_ns};
  const sync::WriteRefusal refusal = context_.driver.Write(
      batch.items(), query.options,
      [pending, sets = batch.sets(), deletes = batch.deletes()](const sync::WriteOutcome& outcome) {
        pending.Answer(BatchDocument(sets, deletes, outcome), outcome);
      });
  if (refusal != sync::WriteRefusal::kNone) return RefuseWrite(refusal);
  return std::nullopt;
}

}  // namespace podmirror::rest
