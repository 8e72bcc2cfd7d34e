// Certificates that daemons and clients show in a test: both are told by their names alone.
// Thread safety: one test thread.
#pragma once

#include <string>
#include <vector>

#include "certs/test_certs.h"

namespace podmirror::client {

using TestFiles = testing::TestDir;
using Leaf = testing::TestAuthority::Leaf;

// What a leaf says; the names may be any bytes.
struct LeafNames {
  std::vector<std::string> dns{};
  std::vector<std::string> uris{};
  std::string common_name = "leaf";
};

class Authority {
 public:
  // For both sides of a connection, valid from yesterday until `valid_seconds` from now.
  Leaf Issue(const LeafNames& names, long valid_seconds = 24 * 3600) const {
    return authority_.IssueFor({.common_name = names.common_name,
                                .names = "",
                                .dns = names.dns,
                                .uris = names.uris,
                                .until_s = valid_seconds});
  }
  const std::string& pem() const { return authority_.pem(); }

 private:
  // One authority is not to be taken for another because of its name.
  static std::string NewName() {
    static int number = 0;
    return "authority " + std::to_string(++number);
  }

  const testing::TestAuthority authority_{NewName()};
};

}  // namespace podmirror::client
