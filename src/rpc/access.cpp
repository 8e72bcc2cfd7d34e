#include "rpc/access.h"

#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"

namespace podmirror::rpc {
namespace {

trust::Verb VerbOf(const sync::WriteItem& item) {
  return item.remove ? trust::Verb::kDelete : trust::Verb::kWrite;
}

AskerRef Everybody(const trust::Guard& guard, const trust::Audit& audit) {
  if (!guard.open() || audit.denied()) return nullptr;
  return std::make_shared<const Asker>(Asker{*guard.Identify({}, nullptr), {}, {}});
}

}  // namespace

Access::Access(const trust::Guard& guard, const trust::Audit& audit, Callers& callers)
    : guard_(guard), audit_(audit), callers_(callers), everybody_(Everybody(guard, audit)) {}

Result<AskerRef> Access::Identify(const grpc::ServerContextBase& context,
                                  const std::string& method) {
  if (everybody_) return everybody_;
  absl::InlinedVector<std::string_view, 2> authorizations;
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  for (auto it = begin; it != end; ++it) {
    authorizations.emplace_back(it->second.data(), it->second.size());
  }
  const Caller caller = callers_.Of(context);
  auto subject = guard_.Identify(authorizations, caller.certificate.get());
  std::string ip = IpOf(context.peer());
  if (!subject.ok()) {
    callers_.Refused(context);
    audit_.Denied({.subject = "", .method = method, .ip = ip, .result = "unauthorized"});
    return subject.status();
  }
  return std::make_shared<const Asker>(Asker{std::move(*subject), method, std::move(ip)});
}

Status Access::Permit(const Asker& asker, trust::Verb verb, std::optional<std::int32_t> type,
                      std::string_view key) const {
  using trust::Verb;
  const trust::Permissions& may = asker.subject->permissions;
  const bool allowed = !type         ? may.AllowsSome(verb)
                       : key.empty() ? may.AllowsSomeOf(verb, *type)
                                     : may.Allows(verb, *type, key);
  if (allowed && !audit_.all()) return {};
  const trust::AuditRecord record = {.subject = asker.subject->name,
                                     .method = asker.method,
                                     .ip = asker.ip,
                                     .action = verb,
                                     .type = type,
                                     .key = key,
                                     .result = allowed ? "ok" : "forbidden"};
  if (!allowed) {
    audit_.Denied(record);
  } else if (verb != Verb::kWrite && verb != Verb::kDelete) {
    audit_.Tell(record);
  }
  if (allowed) return {};
  std::string lacking =
      absl::StrCat(asker.subject->name, " lacks the verb ", std::string(trust::ToString(verb)));
  if (type) absl::StrAppend(&lacking, " on type ", *type);
  if (!key.empty()) absl::StrAppend(&lacking, ", key prefix \"", std::string(key), "\"");
  return {Code::kRefused, std::move(lacking)};
}

Status Access::PermitWrite(const Asker& asker, std::span<const sync::WriteItem> items) const {
  for (const sync::WriteItem& item : items) {
    if (Status status = Permit(asker, VerbOf(item), item.type, item.key); !status.ok()) {
      return status;
    }
  }
  return {};
}

std::shared_ptr<const trust::AuditedWrite> Access::Audited(
    const Asker& asker, std::span<const sync::WriteItem> items) const {
  if (!audit_.writes()) return nullptr;
  auto audited =
      std::make_shared<trust::AuditedWrite>(audit_, asker.subject, asker.method, asker.ip);
  for (const sync::WriteItem& item : items) audited->Add(VerbOf(item), item.type, item.key);
  return audited;
}

}  // namespace podmirror::rpc
