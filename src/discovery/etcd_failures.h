// Counts failures of the members of one etcd: the source is in trouble only when all members have
// failed, one after the other.
// Thread safety: none; belongs to the source's thread.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

namespace podmirror::discovery {

class EtcdFailures {
 public:
  explicit EtcdFailures(std::size_t members) : members_(members) {}

  // A member has answered well.
  void Clear();
  // `member` has failed. When all members have failed since the last good answer, returns the error
  // to tell: "etcd http://a:2379: connection refused; http://b:2379: no answer".
  std::optional<std::string> Add(const std::string& member, const std::string& error);

 private:
  const std::size_t members_;
  std::size_t in_a_row_ = 0;
  std::map<std::string, std::string> errors_;  // sorted, so that the text stays the same
};

}  // namespace podmirror::discovery
