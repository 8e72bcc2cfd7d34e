#include "discovery/bounded_json.h"

#include <nlohmann/json.hpp>
#include <string>

namespace podmirror::discovery {

using nlohmann::json;

namespace {

using Event = json::parse_event_t;

// Whether the event is the key `name` of an object at `object_depth`: the parser reports the keys
// of an object one level below the object itself. The value of a refused key is never built.
bool IsKey(Event event, int depth, const json& parsed, std::string_view name, int object_depth) {
  return event == Event::key && depth == object_depth + 1 &&
         parsed.get_ref<const std::string&>() == name;
}

}  // namespace

json ParseBoundedJson(std::string_view text, std::string_view skip, int skip_depth) {
  bool too_deep = false;
  const auto keep = [&](int depth, Event event, json& parsed) {
    if (depth > kMaxJsonDepth) too_deep = true;
    return !too_deep && !IsKey(event, depth, parsed, skip, skip_depth);
  };
  json value = json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  return too_deep ? json(json::value_t::discarded) : value;
}

json ParseLongArray(std::string_view text, std::string_view array, std::string_view skip,
                    const std::function<void(const json&)>& each) {
  constexpr int kElementDepth = 2;
  bool refused = false;
  bool inside = false;
  std::size_t values = 0;
  const auto keep = [&](int depth, Event event, json& parsed) {
    refused = refused || depth > kMaxJsonDepth || ++values > kMaxElementValues;
    if (refused) return false;
    if (event == Event::key && depth == 1) inside = parsed.get_ref<const std::string&>() == array;
    if (event == Event::object_end && depth == kElementDepth && inside) {
      values = 0;
      each(parsed);
      return false;
    }
    return !IsKey(event, depth, parsed, skip, kElementDepth + 1);
  };
  json value = json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  return refused ? json(json::value_t::discarded) : value;
}

std::string StringMember(const json* object, const char* name) {
  if (object == nullptr) return "";
  const auto at = object->find(name);
  return at != object->end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::int64_t IntMember(const json* object, const char* name) {
  if (object == nullptr) return 0;
  const auto at = object->find(name);
  return at != object->end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

const json* ObjectMember(const json* object, const char* name) {
  if (object == nullptr) return nullptr;
  const auto at = object->find(name);
  return at != object->end() && at->is_object() ? &*at : nullptr;
}

}  // namespace podmirror::discovery
