// One page of the listing of a type. Thread safety: pure function over the cache.
#pragma once

#include <cstdint>
#include <string>

#include "cache/cache.h"
#include "rest/target.h"
#include "trust/permission.h"

namespace podmirror::rest {

// {"entries":[{"key","value" or "value_base64","version","ttl_ms"}],"cursor":"…"}; the last page
// has no cursor. With keys_only there are no values. Entries come in the order of buckets, within a
// bucket in the order of key hashes. So an entry that exists throughout a scan comes exactly once,
// whatever changes meanwhile. A page ends at the query's limit, at about 1 MiB of text, or when
// many entries have been looked at. Only what `reader` may read is listed.
std::string ListDocument(const Cache& cache, std::int32_t type, const ListQuery& query,
                         const trust::Permissions& reader, WallMs now);

}  // namespace podmirror::rest
