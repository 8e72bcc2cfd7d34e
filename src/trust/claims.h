// What others say about a caller, once it has been verified: the claims of a token, the names in a
// certificate. Thread safety: plain values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/env.h"

namespace podmirror::trust {

// Of a JSON Web Token whose signature, issuer, audience and times have been checked.
struct Claims {
  std::string subject;  // "sub"
  WallMs expires = 0;   // "exp"
  // Each claim of the top level whose value is a text or a list of texts.
  std::map<std::string, std::vector<std::string>> texts;
};

// Of a certificate whose chain has been checked. Addresses are not kept: an IP never tells who
// somebody is.
struct Names {
  std::string common_name;        // of the subject; may be empty
  std::vector<std::string> uris;  // subject alternative names
  std::vector<std::string> dns;   // in lower case
};

}  // namespace podmirror::trust
