#include "discovery/reporter.h"

#include <absl/strings/escaping.h>

#include <utility>

namespace podmirror::discovery {
namespace {

// Keys and error texts come from outside and go to the log and to clients.
std::string Printable(const std::string& text) {
  constexpr std::size_t kMaxShown = 512;
  return absl::CHexEscape(absl::string_view(text).substr(0, kMaxShown));
}

}  // namespace

void Reporter::Peers(PeerSet set, std::int64_t revision) {
  last_error_.clear();
  events_.peers(std::move(set), revision);
}

void Reporter::Failed(const std::string& error) {
  metrics_.DiscoveryEvent("error");
  if (error == last_error_) return;
  last_error_ = error;
  events_.failed(Printable(error));
}

void Reporter::Unreadable(const std::string& where, const std::string& reason) {
  metrics_.DiscoveryEvent("unreadable");
  events_.unreadable(Printable(where), Printable(reason));
}

}  // namespace podmirror::discovery
