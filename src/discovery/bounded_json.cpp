#include "discovery/bounded_json.h"

#include <nlohmann/json.hpp>
#include <string>

namespace podmirror::discovery {

using nlohmann::json;

json ParseBoundedJson(std::string_view text, std::string_view skip) {
  bool too_deep = false;
  const auto keep = [&](int depth, json::parse_event_t event, json& parsed) {
    // Refusing an object or array keeps what is in it from being built at all.
    if (depth > kMaxJsonDepth) too_deep = true;
    if (too_deep) return false;
    return !(event == json::parse_event_t::key && depth == 2 &&
             parsed.get_ref<const std::string&>() == skip);
  };
  json value = json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  return too_deep ? json(json::value_t::discarded) : value;
}

}  // namespace podmirror::discovery
