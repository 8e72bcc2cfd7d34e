// Where the files of tests/fixtures are. Thread safety: pure function.
#pragma once

#include <string>
#include <string_view>

namespace podmirror {

// FixturePath("README.md") is that file's absolute path, whether or not there is one.
std::string FixturePath(std::string_view name);

}  // namespace podmirror
