#include "watch/filter.h"

#include <algorithm>
#include <utility>

namespace podmirror::watch {

Result<Filter> Filter::For(std::vector<std::int32_t> types, std::string prefix,
                           const trust::Asker& asker, const trust::Access& access) {
  std::sort(types.begin(), types.end());
  types.erase(std::unique(types.begin(), types.end()), types.end());
  bool all = asker.may().AllowsAll(trust::Verb::kWatch);
  if (types.empty()) {
    if (Status status = access.Permit(asker, {trust::Verb::kWatch}); !status.ok()) return status;
  } else {
    all = true;
    for (const std::int32_t type : types) {
      Status status = access.Permit(asker, {trust::Verb::kWatch, type});
      if (!status.ok()) return status;
      all = all && asker.may().AllowsAllOf(trust::Verb::kWatch, type);
    }
  }
  return Filter{std::move(types), std::move(prefix), all ? nullptr : asker.subject};
}

bool Filter::Wants(const Entry& entry) const {
  return (types.empty() || std::binary_search(types.begin(), types.end(), entry.type())) &&
         entry.key().starts_with(prefix) &&
         (!reader || reader->permissions.Allows(trust::Verb::kWatch, entry.type(), entry.key()));
}

}  // namespace podmirror::watch
