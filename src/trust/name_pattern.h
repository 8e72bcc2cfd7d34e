// NamePattern says which certificates are those of peers, as `tls-peers` has them:
// "spiffe://example.org/ns/shop/sa/*", "*.podmirror.shop.svc".
// Thread safety: plain values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "trust/claims.h"

namespace podmirror::trust {

class NamePattern {
 public:
  // A URI (with "://") or a DNS name. "*" in the place of a whole path segment of a URI, or of a
  // whole label of a DNS name, stands for any one; anywhere else it is wrong. kInvalid when it is
  // neither, or an IP address.
  static Result<NamePattern> Parse(std::string_view text);

  // Whether one of the names in a certificate is meant: URIs exactly, DNS names in any case.
  bool Matches(const Names& names) const;

  const std::string& text() const { return text_; }
  bool is_uri() const { return uri_; }

 private:
  explicit NamePattern(std::string text, bool uri) : text_(std::move(text)), uri_(uri) {}

  std::string text_;
  bool uri_;
};

// Parses each; kInvalid for the first that is wrong.
Result<std::vector<NamePattern>> ParseNamePatterns(const std::vector<std::string>& texts);

bool MatchesAny(const std::vector<NamePattern>& patterns, const Names& names);

}  // namespace podmirror::trust
