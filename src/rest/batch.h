// The body of POST /v1/cache: many puts and deletes in one JSON document, read strictly.
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rest/problem.h"
#include "sync/limits.h"
#include "sync/types.h"

namespace podmirror::rest {

// The puts and deletes of a document, in its order.
// Not copyable: the items point into the text.
class Batch {
 public:
  Batch() = default;
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Reads `body`; puts without a ttl of their own get `default_ttl_ms` (0 = never expire).
  // A refusal names the first thing that is wrong; items() is then empty.
  std::optional<Refusal> Parse(std::string_view body, const sync::ItemLimits& limits,
                               std::int64_t default_ttl_ms);

  const std::vector<sync::WriteItem>& items() const { return items_; }
  std::size_t sets() const { return items_.size() - deletes_; }
  std::size_t deletes() const { return deletes_; }

 private:
  std::string text_;  // the body, its keys and values decoded in place
  std::vector<sync::WriteItem> items_;
  std::size_t deletes_ = 0;
};

}  // namespace podmirror::rest
