#include "rest/problem.h"

#include "rest/json_writer.h"

namespace podmirror::rest {
namespace {

struct Row {
  std::string_view type;
  std::string_view title;
  int status;
};

Row RowOf(Problem problem) {
  switch (problem) {
    case Problem::kUnauthorized:
      return {"urn:podmirror:unauthorized", "Not known who you are", 401};
    case Problem::kForbidden:
      return {"urn:podmirror:forbidden", "Not allowed", 403};
    case Problem::kNotFound:
      return {"urn:podmirror:not-found", "No such entry", 404};
    case Problem::kNoSuchRoute:
      return {"urn:podmirror:no-such-route", "No such route", 404};
    case Problem::kMethodNotAllowed:
      return {"urn:podmirror:method-not-allowed", "Method not allowed here", 405};
    case Problem::kPreconditionFailed:
      return {"urn:podmirror:precondition-failed", "The condition does not hold", 412};
    case Problem::kConflict:
      return {"urn:podmirror:conflict", "Another write stands", 409};
    case Problem::kInvalidKey:
      return {"urn:podmirror:invalid-key", "Invalid key", 400};
    case Problem::kInvalidType:
      return {"urn:podmirror:invalid-type", "Invalid type", 400};
    case Problem::kInvalidTtl:
      return {"urn:podmirror:invalid-ttl", "Invalid ttl", 400};
    case Problem::kInvalidQuery:
      return {"urn:podmirror:invalid-query", "Invalid query", 400};
    case Problem::kInvalidJson:
      return {"urn:podmirror:invalid-json", "Invalid JSON document", 400};
    case Problem::kInvalidRequest:
      return {"urn:podmirror:invalid-request", "Invalid HTTP request", 400};
    case Problem::kRequestTimeout:
      return {"urn:podmirror:invalid-request", "Request took too long", 408};
    case Problem::kPreconditionUnsupported:
      return {"urn:podmirror:precondition-unsupported", "Condition not supported", 400};
    case Problem::kUnsupportedEncoding:
      return {"urn:podmirror:unsupported-encoding", "Content-Encoding is not supported", 415};
    case Problem::kValueTooLarge:
      return {"urn:podmirror:value-too-large", "Value too large", 413};
    case Problem::kBatchTooLarge:
      return {"urn:podmirror:batch-too-large", "Batch too large", 413};
    case Problem::kHeadTooLarge:
      return {"urn:podmirror:head-too-large", "Request head too large", 431};
    case Problem::kOutOfMemory:
      return {"urn:podmirror:out-of-memory", "Out of memory", 507};
    case Problem::kNotReady:
      return {"urn:podmirror:not-ready", "Not ready", 503};
    case Problem::kDraining:
      return {"urn:podmirror:draining", "Draining", 503};
    case Problem::kOverloaded:
      return {"urn:podmirror:overloaded", "Overloaded", 503};
  }
  __builtin_unreachable();
}

}  // namespace

Response ProblemResponse(Problem problem, std::string_view detail) {
  return ProblemResponse(problem, detail, ProblemMember{});
}

Response ProblemResponse(Problem problem, std::string_view detail, const ProblemMember& more) {
  const Row row = RowOf(problem);
  Response response;
  response.status = row.status;
  response.content_type = "application/problem+json";
  if (row.status == 401) response.headers = "WWW-Authenticate: Bearer\r\n";
  if (row.status == 503) response.headers = "Retry-After: 1\r\n";
  JsonWriter json(response.body);
  json.BeginObject();
  json.Member("type", row.type);
  json.Member("title", row.title);
  json.Member("status", row.status);
  json.Member("detail", detail);
  if (!more.name.empty()) {
    json.Key(more.name);
    if (more.text.empty()) {
      json.Null();
    } else {
      json.Value(more.text);
    }
  }
  json.EndObject();
  return response;
}

}  // namespace podmirror::rest
