#include "trust/access.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace podmirror::trust {

Result<Asker> Access::Identify(absl::Span<const std::string_view> authorizations,
                               const Presented* certificate, std::string method,
                               std::string ip) const {
  auto subject = guard_.Identify(authorizations, certificate);
  if (subject.ok()) return Asker{std::move(*subject), std::move(method), std::move(ip)};
  audit_.Denied({.subject = "", .method = method, .ip = ip, .result = "unauthorized"});
  return subject.status();
}

bool Standing::Holds(SteadyMs now) {
  const std::uint64_t number = access_.number();
  if (!held_ || access_.open() || (now < look_at_ && number == number_)) return held_;
  constexpr SteadyMs kLookMs = 1'000;
  number_ = number;
  look_at_ = now + kLookMs;
  const std::vector<std::string_view> authorizations(authorizations_.begin(),
                                                     authorizations_.end());
  const auto asker = access_.Identify(authorizations, certificate_.get(), asker_.method, asker_.ip);
  held_ = asker.ok() && asker->may().grants() == asker_.may().grants();
  return held_;
}

Status Access::Permit(const Asker& asker, const Matter& matter) const {
  const Permissions& may = asker.may();
  const bool some = matter.key.empty() && !matter.below;
  const bool all = !matter.type && matter.below;
  const bool allowed = all            ? may.AllowsAll(matter.verb)
                       : !matter.type ? may.AllowsSome(matter.verb)
                       : some         ? may.AllowsSomeOf(matter.verb, *matter.type)
                                      : may.Allows(matter.verb, *matter.type, matter.key);
  if (allowed && !audit_.all()) return {};
  const AuditRecord record = {.subject = asker.subject->name,
                              .method = asker.method,
                              .ip = asker.ip,
                              .action = matter.verb,
                              .type = matter.type,
                              .key = matter.key,
                              .result = allowed ? "ok" : "forbidden"};
  if (allowed) {
    // A write is told when its outcome is known.
    if (matter.verb != Verb::kWrite && matter.verb != Verb::kDelete) audit_.Tell(record);
    return {};
  }
  audit_.Denied(record);
  std::string lacking =
      absl::StrCat(asker.subject->name, " lacks the verb ", std::string(ToString(matter.verb)));
  if (all) absl::StrAppend(&lacking, " on all types and keys");
  if (matter.type) absl::StrAppend(&lacking, " on type ", *matter.type);
  if (!some && !all) {
    absl::StrAppend(&lacking, ", key prefix \"", std::string(matter.key), "\"");
  }
  return {Code::kRefused, std::move(lacking)};
}

}  // namespace podmirror::trust
