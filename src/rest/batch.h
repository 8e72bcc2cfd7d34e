// The body of POST /v1/cache: many puts, deletes and touches in one JSON document, read strictly.
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

// The puts and deletes of a document, in its order; then the touches, in theirs.
// Not copyable: the items point into the text.
class Batch {
 public:
  Batch() = default;
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Reads `body`; puts and touches without a ttl of their own get `default_ttl_ms` (0: puts never
  // expire, and a touch is refused).
  // A refusal names the first thing that is wrong; items() is then empty.
  std::optional<Refusal> Parse(std::string_view body, const sync::ItemLimits& limits,
                               std::int64_t default_ttl_ms);

  const std::vector<sync::WriteItem>& items() const { return items_; }
  std::size_t sets() const { return items_.size() - deletes_ - touches_.value_or(0); }
  std::size_t deletes() const { return deletes_; }
  // None when the document does not speak of touches.
  std::optional<std::size_t> touches() const { return touches_; }

 private:
  std::string text_;  // the body, its keys and values decoded in place
  std::vector<sync::WriteItem> items_;
  std::size_t deletes_ = 0;
  std::optional<std::size_t> touches_;
};

}  // namespace podmirror::rest
