// Rules say who somebody is and what he may do. They are a file in TOML: its roles, each a grant,
// and its subjects, each known by a token, a service account, other claims or a certificate.
// Thread safety: immutable; all calls from any thread. A subject may outlive its rules.
// Invariants: (1) whom no [[subject]] of the file names has no permissions.
//             (2) nobody has a role that the file does not give him.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "trust/claims.h"
#include "trust/permission.h"

namespace podmirror::trust {

class Rules {
 public:
  // An empty file is one by which nobody may do anything. kInvalid, in one line of printable ASCII
  // that begins with the line of the file, for all that is not understood to the last word. The
  // message never has more than the first digits of a hash.
  static Result<std::shared_ptr<const Rules>> Parse(std::string_view toml);

  // Null when the file knows no such token.
  std::shared_ptr<const Subject> ByToken(std::string_view token) const;
  // Never null. Each subject of the file counts whose claims are all there, and its roles are put
  // together, in the order in which the file has the roles. The name is that of the first such
  // subject, or else Claims::subject, as it came.
  std::shared_ptr<const Subject> ByClaims(const Claims& claims) const;
  // The same by each URI and by the common name. A nameless subject goes by what matched; whom the
  // file does not know, by the first URI, or else the first DNS name or "CN=" and the common name.
  std::shared_ptr<const Subject> ByNames(const Names& names) const;

 private:
  friend class RulesParser;

  using Digest = std::array<unsigned char, 32>;
  static constexpr std::string_view kCommonName = "CN=";  // before one, in the file
  struct Role {
    std::string name;
    Grant grant;
  };
  struct Entry {
    std::string name;  // empty: what identifies it
    std::set<std::size_t> roles;
  };
  struct Claimant {
    std::map<std::string, std::string> claims;  // "sub" and others; at least one
    std::size_t entry = 0;
  };

  // SHA-256. Nothing when the library has run out of memory.
  static std::optional<Digest> DigestOf(std::string_view text);
  // What these entries have in common with somebody of this name, should the first have none.
  std::shared_ptr<const Subject> Union(const std::set<std::size_t>& entries,
                                       std::string name) const;

  std::vector<Role> roles_;     // in the order of the file, as all numbers of them
  std::vector<Entry> entries_;  // each [[subject]]
  std::map<Digest, std::shared_ptr<const Subject>> by_token_;
  std::map<std::string, std::size_t, std::less<>> by_cert_;  // "spiffe://a/b", "CN=x"
  // By the first of the claims: who has not that one need not be looked at.
  std::multimap<std::pair<std::string, std::string>, Claimant> by_claim_;
};

}  // namespace podmirror::trust
