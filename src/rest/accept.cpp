#include "rest/accept.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "rest/http_syntax.h"

namespace podmirror::rest {
namespace {

// "0.25" as 250: 0 to 1 with three digits behind the point at most.
std::optional<int> ParseQuality(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return std::nullopt;
  if (text.size() > 1 && text[1] != '.') return std::nullopt;
  int quality = text[0] - '0';
  for (std::size_t i = 2; i < 5; ++i) {
    const char digit = i < text.size() ? text[i] : '0';
    if (kDigits.find(digit) == std::string_view::npos) return std::nullopt;
    quality = 10 * quality + (digit - '0');
  }
  return quality <= 1000 ? std::optional(quality) : std::nullopt;
}

// The quality (q) in the parameters of a range; 1000 when no q is given, nothing when it is
// malformed. Other parameters do not count: neither of our two types has any.
std::optional<int> QualityOf(std::string_view parameters) {
  while (!parameters.empty()) {
    const std::string_view parameter = TakeElement(parameters, ';');
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    if (!EqualsIgnoreCase(parameter.substr(0, equals), "q")) continue;
    return ParseQuality(parameter.substr(std::min(equals + 1, parameter.size())));
  }
  return 1000;
}

// How much a client wants one media type, found range by range.
class Wish {
 public:
  explicit Wish(std::string_view type) : type_(type), group_(type.substr(0, type.find('/') + 1)) {}

  void Take(std::string_view range, int quality) {
    const int specificity = EqualsIgnoreCase(range, type_) ? 3
                            : CoversGroup(range)           ? 2
                            : range == "*/*"               ? 1
                                                           : 0;
    if (specificity == 0 || specificity < specificity_) return;
    quality_ = specificity > specificity_ ? quality : std::max(quality_, quality);
    specificity_ = specificity;
  }
  int quality() const { return quality_; }

 private:
  // "application/*"
  bool CoversGroup(std::string_view range) const {
    return range.ends_with('*') && EqualsIgnoreCase(range.substr(0, range.size() - 1), group_);
  }

  const std::string_view type_;
  const std::string_view group_;  // "application/"
  int specificity_ = 0;
  int quality_ = 0;
};

}  // namespace

bool Prefers(const Request& request, std::string_view type, std::string_view other) {
  Wish first(type);
  Wish second(other);
  for (const Field& field : request.fields) {
    if (!Request::IsNamed(field, "accept")) continue;
    std::string_view ranges = field.value;
    while (!ranges.empty()) {
      std::string_view parameters = TakeElement(ranges, ',');
      const std::string_view range = TakeElement(parameters, ';');
      const auto quality = QualityOf(parameters);
      if (!quality) continue;  // malformed: as if it had not been said
      first.Take(range, *quality);
      second.Take(range, *quality);
    }
  }
  return first.quality() > second.quality();
}

}  // namespace podmirror::rest
