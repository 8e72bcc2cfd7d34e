#include "trust/permission.h"

#include <algorithm>
#include <utility>

namespace podmirror::trust {
namespace {

bool CoversType(const Grant& grant, Verb verb, std::int32_t type) {
  return grant.verbs.Has(verb) &&
         (grant.types.empty() || std::binary_search(grant.types.begin(), grant.types.end(), type));
}

}  // namespace

std::string_view ToString(Verb verb) {
  switch (verb) {
    case Verb::kRead:
      return "read";
    case Verb::kWatch:
      return "watch";
    case Verb::kWrite:
      return "write";
    case Verb::kDelete:
      return "delete";
    case Verb::kStatus:
      return "status";
    case Verb::kMetrics:
      return "metrics";
    case Verb::kAdmin:
      return "admin";
  }
  return "unknown";
}

Permissions::Permissions(std::vector<Grant> grants) : grants_(std::move(grants)) {
  for (Grant& grant : grants_) {
    std::sort(grant.types.begin(), grant.types.end());
    grant.types.erase(std::unique(grant.types.begin(), grant.types.end()), grant.types.end());
    some_.Add(grant.verbs);
    if (grant.types.empty() && grant.prefix.empty()) all_.Add(grant.verbs);
  }
}

Permissions Permissions::Everything() {
  Grant grant;
  for (const Verb verb : kVerbs) grant.verbs.Add(verb);
  return Permissions({std::move(grant)});
}

bool Permissions::Allows(Verb verb, std::int32_t type, std::string_view key) const {
  if (AllowsAll(verb)) return true;
  if (!AllowsSome(verb)) return false;
  return std::any_of(grants_.begin(), grants_.end(), [&](const Grant& grant) {
    return CoversType(grant, verb, type) && key.starts_with(grant.prefix);
  });
}

bool Permissions::AllowsSomeOf(Verb verb, std::int32_t type) const {
  return std::any_of(grants_.begin(), grants_.end(),
                     [&](const Grant& grant) { return CoversType(grant, verb, type); });
}

bool Permissions::AllowsAllOf(Verb verb, std::int32_t type) const {
  return std::any_of(grants_.begin(), grants_.end(), [&](const Grant& grant) {
    return CoversType(grant, verb, type) && grant.prefix.empty();
  });
}

}  // namespace podmirror::trust
