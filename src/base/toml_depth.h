// What has to be looked at before toml++ reads a text that somebody else wrote. It bounds how deep
// values are nested, but not how many parts a dotted key has. Each part is a table in a table, and
// some hundred thousand of them overflow the stack when they are destroyed. Thread safety: pure
// function.
#pragma once

#include <cstddef>
#include <string_view>

namespace podmirror {

// What is wrong with the line that LineOfManyDots names.
constexpr char kManyDots[] = "more than 8 dots outside of strings: no key has so many parts";

// The first line with more than 8 dots outside of strings and comments, counted from 1; 0: none.
std::size_t LineOfManyDots(std::string_view text);

}  // namespace podmirror
