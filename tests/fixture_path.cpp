#include "fixture_path.h"

namespace podmirror {

std::string FixturePath(std::string_view name) {
  return std::string(PODMIRROR_FIXTURES).append("/").append(name);
}

}  // namespace podmirror
