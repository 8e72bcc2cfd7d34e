// The table of all settings: the one place that gives the name, the default, the range and the help
// of each. The flags, the environment variables, the keys of the file, the text of --help and the
// tests of all these are made from it.
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
  };  // kBool: the flag alone means true; kList: may be an array in the file

  std::string name;
  Kind kind = Kind::kScalar;
  Parser parse;
  std::string fallback;           // text of the default, parsed like any other; empty: unset
  std::string fallback_variable;  // e.g. POD_NAME: its value goes before `fallback`; empty: none
  std::string help;

  std::string variable() const;  // "PODMIRROR_REST_LISTEN"
};

std::span<const Setting> Table();

}  // namespace podmirror::settings
