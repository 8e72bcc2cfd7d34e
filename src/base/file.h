// Small files that are read as a whole: settings, secrets, certificates. Thread safety: pure
// function.
#pragma once

#include <string>

#include "base/status.h"

namespace podmirror {

// The whole file, at most 1 MiB; kInvalid with its name and the reason when it cannot be read, is
// empty or larger.
Result<std::string> ReadSmallFile(const std::string& file);

}  // namespace podmirror
