// How the text of a setting becomes a value, and how messages show it. Each function that returns a
// Parser makes one that stores into one member of Settings and says what is wrong with the text, or
// nothing when it is fine.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "settings/settings.h"

namespace podmirror::settings {

// Returns what is wrong, for people ("is not a size: ..."). When nothing is wrong, it stores the
// value and returns an empty string.
using Parser = std::function<std::string(const std::string& text, Settings& settings)>;

// Whether a text is an IPv4 or IPv6 address, without brackets.
bool IsIpAddress(const std::string& text);

// Makes a text safe for a message of one line: without control characters, and cut when it has more
// than `longest` bytes.
std::string OneLine(std::string text, std::size_t longest);
// The same for a value: in quotes, cut at 100 bytes.
std::string Quoted(std::string text);

// Printable UTF-8 of at most 1 KiB; may be empty.
Parser Text(std::string Settings::*target);
Parser Text(std::string Identity::*target);
// An IP address, or empty.
Parser Address(std::string Identity::*target);
Parser Choice(std::string Settings::*target, std::vector<std::string> choices);
// "true" or "false".
Parser Bool(bool Settings::*target);
// One of two words: the second stands for true.
Parser Switch(bool Settings::*target, std::string off, std::string on);
// A plain number min..max.
Parser Number(std::uint64_t Settings::*target, std::uint64_t min, std::uint64_t max);
// Bytes, or a whole number with KiB, MiB or GiB.
Parser Size(std::uint64_t Settings::*target, std::uint64_t min, std::uint64_t max);
// A whole number with ms, s, m or h; 0 needs no unit.
Parser Duration(Settings::Ms Settings::*target, Settings::Ms min, Settings::Ms max);
// host:port or [v6]:port, any port from 0; or off.
Parser Listen(Settings::Listen Settings::*target);
// A comma list of texts; may be empty.
Parser Texts(std::vector<std::string> Settings::*target);
// A comma list of host:port, port from 1; may be empty.
Parser HostPorts(std::vector<std::string> Settings::*target);
// http://host:port or https://host:port, or empty.
Parser Url(std::string Settings::*target);
// A comma list of http://host:port or https://host:port, at least one.
Parser Urls(std::vector<std::string> Settings::*target);
// A path in etcd: it begins with a slash; a slash at its end is dropped.
Parser Prefix(std::string Settings::*target);
// A file that can be read, or empty.
Parser File(std::string Settings::*target);

}  // namespace podmirror::settings
