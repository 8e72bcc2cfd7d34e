#include "trust/shown.h"

#include <algorithm>

#include "absl/strings/escaping.h"

namespace podmirror::trust {
namespace {

constexpr std::size_t kMaxShown = 100;

}  // namespace

std::string Shown(std::string_view text) {
  std::string shown =
      absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kMaxShown)));
  if (shown.size() <= kMaxShown && text.size() <= kMaxShown) return shown;
  return shown.substr(0, kMaxShown - 3) + "...";
}

}  // namespace podmirror::trust
