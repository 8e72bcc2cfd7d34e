#include "trust/presented.h"

#include <optional>
#include <string>
#include <utility>

#include "trust/shown.h"

namespace podmirror::trust {
namespace {

// The names that a peer could be known by, for people.
std::string Described(const Names& names) {
  std::string text;
  for (const auto* list : {&names.uris, &names.dns}) {
    for (const std::string& name : *list) {
      if (text.size() > 200) return text + ", ...";
      text += (text.empty() ? "" : ", ") + Shown(name);
    }
  }
  return text.empty() ? "neither a URI nor a DNS name" : text;
}

}  // namespace

Presented::Presented(CertificateChain chain, Credentials::Use use, const Credentials& credentials,
                     WallMs now)
    : chain_(std::move(chain)),
      use_(use),
      names_(chain_.names()),
      checked_with_(credentials.number()),
      verdict_(credentials.Verify(chain_, use, now)),
      good_at_first_(verdict_.ok()) {}

Status Presented::Check(const Credentials& current) const {
  absl::MutexLock lock(&mu_);
  Refresh(current);
  return verdict_;
}

Status Presented::CheckPeer(const Credentials& current) const {
  absl::MutexLock lock(&mu_);
  Refresh(current);
  if (!peer_verdict_) peer_verdict_ = JudgePeer(current);
  return *peer_verdict_;
}

// What was wrong from the start stays wrong: its dates would not be looked at again.
void Presented::Refresh(const Credentials& current) const {
  if (!good_at_first_ || checked_with_ == current.number()) return;
  verdict_ = current.Verify(chain_, use_, std::nullopt);
  peer_verdict_.reset();
  checked_with_ = current.number();
}

Status Presented::JudgePeer(const Credentials& current) const {
  const auto refused = [](const Status& why) {
    return Status(why.code(), "its certificate is refused: " + why.message());
  };
  if (!verdict_.ok()) return refused(verdict_);
  if (!current.IsPeer(names_)) {
    return {Code::kRefused,
            "its certificate is not that of a peer: it carries " + Described(names_)};
  }
  // A peer dials and is dialled: one that can do only half of it would get our writes, or our data.
  const auto other =
      use_ == Credentials::Use::kClient ? Credentials::Use::kServer : Credentials::Use::kClient;
  const Status status = current.Verify(chain_, other, std::nullopt);
  return status.ok() ? status : refused(status);
}

}  // namespace podmirror::trust
