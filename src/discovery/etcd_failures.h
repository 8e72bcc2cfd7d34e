// Failures of the members of one etcd: only when all of them have failed one after the other is the
// source in trouble.
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

  // A member could be read.
  void Clear();
  // This one could not. When all have failed since the last such answer: what to tell of them,
  // "etcd http://a:2379: connection refused; http://b:2379: no answer".
  std::optional<std::string> Add(const std::string& member, const std::string& error);

 private:
  const std::size_t members_;
  std::size_t in_a_row_ = 0;
  std::map<std::string, std::string> errors_;  // sorted, so that the text stays the same
};

}  // namespace podmirror::discovery
