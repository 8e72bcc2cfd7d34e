// A label selector as Kubernetes writes it: "a=b,c!=d,e in (x,y),f notin (z),g,!h". A pod matches
// when it meets every requirement; != and notin are met by a pod without the label.
// Thread safety: a plain value once parsed.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace podmirror::discovery {

class Selector {
 public:
  // An empty selector matches everything. kInvalid, naming the setting `selector` and the place.
  static Result<Selector> Parse(std::string_view text);

  // `labels` sorted by key, keys unique.
  bool Matches(const std::vector<std::pair<std::string, std::string>>& labels) const;

 private:
  enum class Op { kIn, kNotIn, kExists, kNotExists };
  struct Requirement {
    std::string key;
    Op op = Op::kExists;
    std::vector<std::string> values;  // of kIn and kNotIn
  };
  friend class SelectorParser;

  std::vector<Requirement> requirements_;
};

}  // namespace podmirror::discovery
