#include "discovery/etcd_failures.h"

#include <absl/strings/str_cat.h>

namespace podmirror::discovery {

void EtcdFailures::Clear() {
  in_a_row_ = 0;
  errors_.clear();
}

std::optional<std::string> EtcdFailures::Add(const std::string& member, const std::string& error) {
  errors_[member] = error;
  if (++in_a_row_ < members_) return std::nullopt;
  in_a_row_ = 0;
  std::string text;
  for (const auto& [name, reason] : errors_) {
    absl::StrAppend(&text, text.empty() ? "etcd " : "; ", name, ": ", reason);
  }
  return text;
}

}  // namespace podmirror::discovery
