// The part of Routes that reads and writes entries.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rest/answers.h"
#include "rest/batch.h"
#include "rest/documents.h"
#include "rest/entry_read.h"
#include "rest/listing.h"
#include "rest/routes.h"
#include "sync/below.h"

namespace podmirror::rest {
namespace {

int StatusOf(const sync::WriteOutcome& outcome) { return outcome.met ? 200 : 202; }

Response FailedResponse(const sync::WriteOutcome& outcome) {
  const std::string version = outcome.found ? outcome.found->ToString() : std::string();
  Response response =
      ProblemResponse(Problem::kPreconditionFailed,
                      version.empty() ? "nothing is stored under this key" : "the entry is another",
                      {"version", version});
  if (!version.empty()) absl::StrAppend(&response.headers, "ETag: \"", version, "\"\r\n");
  return response;
}

// Of a write that was applied, or of one on a condition.
Response WriteResponse(std::string document, const sync::WriteOutcome& outcome) {
  if (outcome.failed) return FailedResponse(outcome);
  if (outcome.winner) {
    return ProblemResponse(Problem::kConflict,
                           "it was applied, and a greater write stands that may not have seen it",
                           {"winner", outcome.winner->ToString()});
  }
  return Json(std::move(document), StatusOf(outcome));
}

}  // namespace

// What is needed to answer a write once its acknowledgements are in. It holds nothing of the
// server, which may be gone by then.
struct PendingWrite {
  std::shared_ptr<Responder> responder;
  telemetry::Metrics* metrics;
  Env* env;
  std::string_view method;
  std::string_view route;
  std::int64_t start_ns;
  std::shared_ptr<const trust::AuditedWrite> audited;  // null when nobody wants to know

  void Answer(std::string document, const sync::WriteOutcome& outcome) const {
    if (audited) audited->TellOutcome(outcome);
    Answer(WriteResponse(std::move(document), outcome));
  }
  void Answer(Response response) const {
    metrics->RestRequest(method, route, response.status,
                         static_cast<double>(env->steady_ns() - start_ns) * 1e-9);
    responder->Answer(std::move(response));
  }
};

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

Response Routes::Types(const Call& call) const {
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  std::map<std::int32_t, TypeStats> types = context_.cache.Types();
  // How much there is of a type tells of all of its keys.
  std::erase_if(types, [&may = call.asker.may()](const auto& type) {
    return !may.AllowsAllOf(trust::Verb::kStatus, type.first);
  });
  return Json(TypesDocument(types));
}

Response Routes::List(const Call& call) const {
  const auto type = ParseType(call.match.type);
  if (!type) {
    return ProblemResponse(Problem::kInvalidType,
                           "the type must be a canonical 32-bit decimal integer");
  }
  ListQuery query;
  if (auto refused = Permit(call, {trust::Verb::kRead, *type})) return *std::move(refused);
  if (auto refusal = ParseListQuery(call.query, query)) return ProblemResponse(*refusal);
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  return Json(
      ListDocument(context_.cache, *type, query, call.asker.may(), context_.env.now().wall));
}

std::optional<Response> Routes::Get(const Call& call) {
  std::int32_t type = 0;
  std::string key;
  std::int64_t wait_ms = 0;
  if (auto refusal = ParseEntryPath(call.match, type, key)) return ProblemResponse(*refusal);
  if (auto refused = Permit(call, {trust::Verb::kRead, type, key})) return refused;
  if (auto refusal = ParseReadQuery(call.query, wait_ms)) return ProblemResponse(*refusal);
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  const std::uint64_t as_of = wait_ms > 0 ? context_.changes.last() : 0;
  EntryRead read = EntryRead::Of(call.request, type, std::move(key));
  Response response = read.Answer(context_.cache, context_.env.now().wall);
  if (response.status != 304 || wait_ms == 0) return response;
  return Wait(call, std::move(read), as_of, wait_ms);
}

// --- writes ---

std::optional<Refusal> Routes::ParseWrite(const Call& call, WriteQuery& out) const {
  out.options = {options_.ack, options_.ack_timeout_ms};
  if (auto refusal = ParseWriteQuery(call.query, out)) return refusal;
  return RefusePart(call);
}

std::optional<Refusal> Routes::RefusePart(const Call& call) {
  if (call.request.Find("content-range") != nullptr) {
    return Refusal{Problem::kInvalidRequest, "a value is sent whole, without Content-Range"};
  }
  return std::nullopt;
}

std::optional<Refusal> Routes::ParseCondition(const Request& request, WriteQuery& out) {
  std::size_t count = 0;
  for (const Field& field : request.fields) {
    std::string_view value = field.value;
    if (Request::IsNamed(field, "if-match")) {
      const bool quoted = value.size() > 2 && value.front() == '"' && value.back() == '"';
      const auto version = quoted ? ParseVersion(value.substr(1, value.size() - 2)) : std::nullopt;
      if (!version) {
        return Refusal{Problem::kPreconditionUnsupported,
                       "If-Match on a write is the ETag of one version"};
      }
      out.options.condition = Condition{version};
    } else if (Request::IsNamed(field, "if-none-match")) {
      if (value != "*") {
        return Refusal{Problem::kPreconditionUnsupported, "If-None-Match on a write is *"};
      }
      out.options.condition = Condition{};
    } else {
      continue;
    }
    if (++count > 1) return Refusal{Problem::kPreconditionUnsupported, "more than one condition"};
  }
  if (count == 0) return std::nullopt;
  if (out.ack_given && out.options.ack != sync::AckLevel::kAll) {
    return Refusal{Problem::kInvalidQuery, "with a condition ack is always all"};
  }
  out.options.ack = sync::AckLevel::kAll;
  return std::nullopt;
}

Response Routes::RefuseWrite(sync::WriteRefusal refusal) const {
  switch (refusal) {
    case sync::WriteRefusal::kDraining:
      return ProblemResponse(Problem::kDraining, "this pod is going away");
    case sync::WriteRefusal::kOutOfMemory:
      return ProblemResponse(Problem::kOutOfMemory, "max-memory is reached");
    case sync::WriteRefusal::kTooLarge:
      return ProblemResponse(Problem::kBatchTooLarge,
                             absl::StrCat("values of over ", sync::kMaxTouchedBytes,
                                          " bytes to be touched: touch fewer keys at a time"));
    default:
      return ProblemResponse(Problem::kNotReady, context_.driver.Status().reason);
  }
}

template <typename Document>
std::optional<Response> Routes::Write(const Call& call, std::span<const sync::WriteItem> items,
                                      const WriteQuery& query, std::string_view route,
                                      Document document) {
  if (auto refused = Forbidden(context_.access.PermitWrite(call.asker, items))) return refused;
  return Write({call.responder, &context_.metrics, &context_.env, call.method, route, call.start_ns,
                context_.access.Audited(call.asker, items)},
               items, query.options, std::move(document));
}

template <typename Document>
std::optional<Response> Routes::Write(PendingWrite pending, std::span<const sync::WriteItem> items,
                                      const sync::WriteOptions& options, Document document) {
  const sync::WriteRefusal refusal = context_.driver.Write(
      items, options, [pending, document = std::move(document)](const auto& outcome) {
        pending.Answer(document(outcome), outcome);
      });
  if (refusal == sync::WriteRefusal::kNone) return std::nullopt;
  if (pending.audited) pending.audited->Tell("failed");
  return RefuseWrite(refusal);
}

std::optional<Response> Routes::WriteEntry(const Call& call) {
  std::int32_t type = 0;
  std::string key;
  if (auto refusal = ParseEntryPath(call.match, type, key)) return ProblemResponse(*refusal);
  const bool remove = call.method == "DELETE";
  WriteQuery query;
  if (auto refusal = ParseWrite(call, query)) return ProblemResponse(*refusal);
  if (auto refusal = ParseCondition(call.request, query)) return ProblemResponse(*refusal);
  const sync::WriteItem item{.type = type,
                             .key = key,
                             .value = remove ? std::string_view() : call.request.body,
                             .remove = remove,
                             .ttl_ms = query.ttl_ms};
  return Write(
      call, {&item, 1}, query, "cache_entry",
      [type, key](const sync::WriteOutcome& outcome) { return WriteDocument(type, key, outcome); });
}

std::optional<Response> Routes::WriteBatch(const Call& call) {
  WriteQuery query;
  if (auto refusal = ParseWrite(call, query)) return ProblemResponse(*refusal);
  Batch batch;
  if (auto refusal = batch.Parse(call.request.body, options_.items, query.ttl_ms)) {
    return ProblemResponse(*refusal);
  }
  return Write(call, batch.items(), query, "cache",
               [counts = BatchCounts{batch.sets(), batch.deletes(), batch.touches()}](
                   const sync::WriteOutcome& outcome) { return BatchDocument(counts, outcome); });
}

std::optional<Response> Routes::DeleteBelow(const Call& call) {
  const auto type = ParseType(call.match.type);
  if (!type) {
    return ProblemResponse(Problem::kInvalidType,
                           "the type must be a canonical 32-bit decimal integer");
  }
  DeleteQuery query{.prefix = {}, .options = {options_.ack, options_.ack_timeout_ms}};
  if (auto refusal = ParseDeleteQuery(call.query, query)) return ProblemResponse(*refusal);
  if (auto refusal = RefusePart(call)) return ProblemResponse(*refusal);
  if (auto refused = Permit(
          call,
          {.verb = trust::Verb::kDelete, .type = *type, .key = query.prefix, .below = true})) {
    return refused;
  }
  if (auto refusal = RefuseRead()) return ProblemResponse(*refusal);
  PendingWrite pending{call.responder, &context_.metrics, &context_.env, call.method,
                       "cache_type",   call.start_ns,     nullptr};
  const bool taken = context_.scan.TryPost(
      sync::kMaxDeletesWaiting,
      [this, pending = std::move(pending), asker = call.asker, type = *type,
       query = std::move(query)] { DeleteFound(pending, asker, type, query); });
  if (taken) return std::nullopt;
  return ProblemResponse(Problem::kOverloaded, "too many deletes by prefix at once; try again");
}

void Routes::DeleteFound(PendingWrite pending, const trust::Asker& asker, std::int32_t type,
                         const DeleteQuery& query) {
  // Who has hung up may have written anew since, and does not count on this any more.
  const auto given_up = [this, &pending] { return stopping_.load() || pending.responder->left(); };
  const auto found = sync::FindBelow(context_.cache, type, query.prefix, sync::kMaxDeletedBelow,
                                     context_.env.now().wall, given_up);
  if (!found || given_up()) {
    pending.Answer(stopping_ ? ProblemResponse(Problem::kDraining, "this pod is going away")
                             : ProblemResponse(Problem::kBatchTooLarge,
                                               absl::StrCat("over ", sync::kMaxDeletedBelow,
                                                            " entries begin with this prefix")));
    return;
  }
  const std::vector<sync::WriteItem> items = sync::DeletesOf(*found);
  pending.audited = context_.access.Audited(asker, items);
  auto refused = Write(pending, items, query.options,
                       [count = items.size()](const sync::WriteOutcome& outcome) {
                         return BatchDocument({.deletes = count - outcome.absent.size()}, outcome);
                       });
  if (refused) pending.Answer(*std::move(refused));
}

}  // namespace podmirror::rest
