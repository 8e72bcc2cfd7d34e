// Which changes a watcher is told. Thread safety: plain values; For from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "cache/entry.h"
#include "trust/access.h"

namespace podmirror::watch {

struct Filter {
  std::vector<std::int32_t> types = {};  // rising; none = every type
  std::string prefix = {};
  trust::SubjectRef reader = nullptr;  // null: may watch whatever the rest of the filter wants

  // Of what `asker` asks for, as far as he may watch it; types in any order, any number of times.
  // kRefused names the first type of which he may watch nothing.
  static Result<Filter> For(std::vector<std::int32_t> types, std::string prefix,
                            const trust::Asker& asker, const trust::Access& access);

  bool Wants(const Entry& entry) const;
};

}  // namespace podmirror::watch
