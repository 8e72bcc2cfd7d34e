// What begins with a prefix, for a delete of all of it.
// Thread safety: pure functions over the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "cache/cache.h"
#include "sync/types.h"

namespace podmirror::sync {

// Deletes that wait for the one that is looking at the cache.
inline constexpr std::size_t kMaxDeletesWaiting = 16;

// The entries of `type` that are live at `now` and whose key begins with `prefix`, in unspecified
// order. None when there are more than `most`, or when `cancelled` says so. It looks at everything
// that is stored, whatever the prefix. What is written meanwhile may be seen or not; what stays as
// it is comes exactly once.
std::optional<std::vector<EntryRef>> FindBelow(const Cache& cache, std::int32_t type,
                                               std::string_view prefix, std::size_t most,
                                               WallMs now, absl::FunctionRef<bool()> cancelled);

// Deletes of these very versions: what has been written anew since stays. With views into them.
std::vector<WriteItem> DeletesOf(std::span<const EntryRef> found);

}  // namespace podmirror::sync
