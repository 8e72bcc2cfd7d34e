// The table of all settings: the only place that names one. Flags, environment, file, help and the
// tests of all these come from it.
// Thread safety: constant after the first call.
#pragma once

#include <span>
#include <string>

#include "settings/parse.h"

namespace podmirror::settings {

struct Setting {
  enum class Kind {
    kScalar,
    kBool,
    kList
  };  // a list is an array in a file; a flag needs no "true"

  std::string name;
  Kind kind = Kind::kScalar;
  Parser parse;
  std::string fallback;           // text of the default, parsed like any other; empty: unset
  std::string fallback_variable;  // whose value goes before `fallback`; empty: none
  std::string help;

  std::string variable() const;  // "PODMIRROR_REST_LISTEN"
};

std::span<const Setting> Table();

}  // namespace podmirror::settings
