#include "settings/parse.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>

#include "base/utf8.h"

namespace podmirror::settings {
namespace {

constexpr std::size_t kMaxText = 1024;
constexpr std::size_t kMaxShown = 100;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};
constexpr std::array<Unit, 4> kSizeUnits = {
    {{"", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}}};
constexpr std::array<Unit, 4> kDurationUnits = {
    {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};

// "16MiB", "16 MiB"; nothing when it is no number, has another unit or does not fit.
std::optional<std::uint64_t> WithUnit(std::string_view text, std::span<const Unit> units) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  for (const Unit& unit : units) {
    if (unit.name != text) continue;
    if (number > std::numeric_limits<std::uint64_t>::max() / unit.factor) return std::nullopt;
    return number * unit.factor;
  }
  return std::nullopt;
}

// The text of a limit in the largest unit that divides it.
std::string Shown(std::uint64_t value, std::span<const Unit> units) {
  const Unit* best = &units[0];
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) best = &unit;
  }
  return std::to_string(value / best->factor) + std::string(best->name);
}

std::string OutOfRange(std::uint64_t min, std::uint64_t max, std::span<const Unit> units) {
  return "must be " + Shown(min, units) + " to " + Shown(max, units);
}

bool IsHost(const std::string& text) {
  if (IsIpAddress(text)) return true;
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

std::optional<HostPort> ParseHostPort(const std::string& text, std::uint64_t min_port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // An IPv6 address without brackets could swallow the port.
  if (bracketed != (host.find(':') != std::string::npos) || !IsHost(host)) return std::nullopt;
  std::uint16_t port = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + colon + 1, last, port);
  if (error != std::errc() || end != last || port < min_port) return std::nullopt;
  return HostPort{std::move(host), port};
}

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> items;
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t comma = std::min(list.find(',', from), list.size());
    const std::size_t first = std::min(list.find_first_not_of(' ', from), comma);
    std::size_t end = comma;
    while (end > first && list[end - 1] == ' ') --end;
    items.push_back(list.substr(first, end - first));
    from = comma + 1;
  }
  return items;
}

std::string CheckPrintable(const std::string& text) {
  if (text.size() > kMaxText) return "is longer than 1024 bytes";
  const bool printable = std::none_of(text.begin(), text.end(), [](char c) {
    return std::iscntrl(static_cast<unsigned char>(c)) != 0;
  });
  return printable ? "" : "holds control characters";
}

// Texts go to the peers in strings of protobuf, which takes nothing but UTF-8.
std::string CheckText(const std::string& text) {
  std::string wrong = CheckPrintable(text);
  if (wrong.empty() && !IsUtf8(text)) wrong = "is not UTF-8";
  return wrong;
}

// The URL without a slash at its end, if it is http://host:port or https://host:port; else nothing.
std::optional<std::string> ParseUrl(std::string url) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!url.starts_with(scheme)) continue;
    if (url.ends_with('/')) url.pop_back();
    if (ParseHostPort(url.substr(scheme.size()), 1)) return url;
  }
  return std::nullopt;
}

}  // namespace

bool IsIpAddress(const std::string& text) {
  in6_addr unused;
  return inet_pton(AF_INET, text.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &unused) == 1;
}

std::string OneLine(std::string text, std::size_t longest) {
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  for (char& c : text) {
    if (std::iscntrl(static_cast<unsigned char>(c))) c = '?';
  }
  return text;
}

std::string Quoted(std::string text) { return "\"" + OneLine(std::move(text), kMaxShown) + "\""; }

Parser Text(std::string Settings::*target) {
  return [target](const std::string& text, Settings& settings) {
    std::string wrong = CheckText(text);
    if (wrong.empty()) settings.*target = text;
    return wrong;
  };
}

Parser Text(std::string Identity::*target) {
  return [target](const std::string& text, Settings& settings) {
    std::string wrong = CheckText(text);
    if (wrong.empty()) settings.pod.*target = text;
    return wrong;
  };
}

Parser Address(std::string Identity::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    if (!text.empty() && !IsIpAddress(text)) return "is not an IP address";
    settings.pod.*target = text;
    return "";
  };
}

Parser Choice(std::string Settings::*target, std::vector<std::string> choices) {
  return [target, choices = std::move(choices)](const std::string& text,
                                                Settings& settings) -> std::string {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      std::string wrong = "is none of";
      for (const std::string& choice : choices) wrong += " " + choice;
      return wrong;
    }
    settings.*target = text;
    return "";
  };
}

Parser Bool(bool Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    if (text != "true" && text != "false") return "is neither true nor false";
    settings.*target = text == "true";
    return "";
  };
}

Parser Switch(bool Settings::*target, std::string off, std::string on) {
  return [target, off = std::move(off), on = std::move(on)](const std::string& text,
                                                            Settings& settings) -> std::string {
    if (text != off && text != on) return "is neither " + off + " nor " + on;
    settings.*target = text == on;
    return "";
  };
}

Parser Number(std::uint64_t Settings::*target, std::uint64_t min, std::uint64_t max) {
  return [=](const std::string& text, Settings& settings) -> std::string {
    const std::span<const Unit> no_unit(kSizeUnits.data(), 1);
    const auto value = WithUnit(text, no_unit);
    if (!value) return "is not a number";
    if (*value < min || *value > max) return OutOfRange(min, max, no_unit);
    settings.*target = *value;
    return "";
  };
}

Parser Size(std::uint64_t Settings::*target, std::uint64_t min, std::uint64_t max) {
  return [=](const std::string& text, Settings& settings) -> std::string {
    const auto value = WithUnit(text, kSizeUnits);
    if (!value) return "is not a size: bytes, or a whole number with KiB, MiB or GiB";
    if (*value < min || *value > max) return OutOfRange(min, max, kSizeUnits);
    settings.*target = *value;
    return "";
  };
}

Parser Duration(Settings::Ms Settings::*target, Settings::Ms min, Settings::Ms max) {
  return [=](const std::string& text, Settings& settings) -> std::string {
    const auto value = text == "0" ? 0 : WithUnit(text, kDurationUnits);
    if (!value) return "is not a duration: a whole number with ms, s, m or h";
    const auto low = static_cast<std::uint64_t>(min.count());
    const auto high = static_cast<std::uint64_t>(max.count());
    if (*value < low || *value > high) return OutOfRange(low, high, kDurationUnits);
    settings.*target = Settings::Ms(*value);
    return "";
  };
}

Parser Listen(Settings::Listen Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    auto address = ParseHostPort(text, 0);
    if (!address && text != "off") {
      return "is neither host:port (an IPv6 address needs brackets: [::]:8080) nor off";
    }
    settings.*target = std::move(address);
    return "";
  };
}

Parser Texts(std::vector<std::string> Settings::*target) {
  return [target](const std::string& text, Settings& settings) {
    std::string wrong = CheckText(text);
    if (wrong.empty()) settings.*target = text.empty() ? std::vector<std::string>() : Split(text);
    return wrong;
  };
}

Parser HostPorts(std::vector<std::string> Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    std::vector<std::string> items;
    if (!text.empty()) items = Split(text);
    for (const std::string& item : items) {
      if (!ParseHostPort(item, 1)) return "holds " + Quoted(item) + ", which is not host:port";
    }
    settings.*target = std::move(items);
    return "";
  };
}

Parser Url(std::string Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    const auto url = ParseUrl(text);
    if (!url && !text.empty()) return "is not http://host:port or https://host:port";
    settings.*target = url.value_or("");
    return "";
  };
}

Parser Urls(std::vector<std::string> Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    std::vector<std::string> urls;
    for (std::string& item : Split(text)) {
      auto url = ParseUrl(item);
      if (!url) {
        return "holds " + Quoted(item) + ", which is not http://host:port or https://host:port";
      }
      urls.push_back(*std::move(url));
    }
    settings.*target = std::move(urls);
    return "";
  };
}

Parser Prefix(std::string Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    std::string wrong = CheckText(text);
    if (!wrong.empty()) return wrong;
    if (!text.starts_with('/')) return "does not begin with a slash";
    settings.*target = text.ends_with('/') ? text.substr(0, text.size() - 1) : text;
    return "";
  };
}

Parser File(std::string Settings::*target) {
  return [target](const std::string& text, Settings& settings) -> std::string {
    std::string wrong = CheckPrintable(text);
    if (!wrong.empty()) return wrong;
    // Peeking, since a directory opens but cannot be read. An empty file can.
    std::ifstream file(text, std::ios::binary);
    if (!text.empty() && (!file || (file.peek(), file.bad()))) return "cannot be read";
    settings.*target = text;
    return "";
  };
}

}  // namespace podmirror::settings
