// Which settings go together. Thread safety: pure functions.
#pragma once

#include <string>

#include "base/status.h"
#include "settings/settings.h"

namespace podmirror::settings {

// kInvalid: "<setting>: <wrong>".
Status Invalid(const std::string& setting, const std::string& wrong);

// Whether there is an address for REST and one for gRPC, and none is used twice.
Status CheckListening(const Settings& settings);

// The rest, once all defaults have been filled in. Requires: CheckListening is fine.
Status Check(const Settings& settings);

}  // namespace podmirror::settings
