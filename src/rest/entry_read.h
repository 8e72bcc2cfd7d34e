// A read of one entry. It holds all of the request that its answer depends on, so that it can be
// answered again when the entry has changed. Thread safety: immutable.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/env.h"
#include "cache/cache.h"
#include "rest/http.h"

namespace podmirror::rest {

struct EntryRead {
  std::int32_t type = 0;
  std::string key;
  bool json = false;                    // the client prefers it
  std::vector<std::string> none_match;  // If-None-Match

  static EntryRead Of(const Request& request, std::int32_t type, std::string key);

  // The client has what the cache has now: the answer is 304.
  bool Known(const Cache& cache, WallMs now) const;
  // 200, 304 or 404, as the cache is now.
  Response Answer(const Cache& cache, WallMs now) const;

 private:
  bool Known(const Entry& entry) const;
};

}  // namespace podmirror::rest
