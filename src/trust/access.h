// Access is the one place where requests are let in, by REST and by gRPC alike: it says who asks,
// and whether that may do what is asked for. What comes of it is counted, and told to the audit.
// Thread safety: all calls from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "base/status.h"
#include "trust/audit.h"
#include "trust/guard.h"

namespace podmirror::trust {

// Who makes a request.
struct Asker {
  SubjectRef subject;
  std::string method;  // "PUT", "/podmirror.v1.Cache/Set"
  std::string ip;

  const Permissions& may() const { return subject->permissions; }
};

// What is asked for. Without a type: something of some type, or everything with `below`; without a
// key: of some key of the type. `below`: all keys that begin with `key`, which may be empty;
// whatever is stored, so that a refusal tells nothing of it.
struct Matter {
  Verb verb;
  std::optional<std::int32_t> type = std::nullopt;
  std::string_view key = {};
  bool below = false;
};

class Access {
 public:
  // Both must outlive this.
  Access(const Guard& guard, const Audit& audit) : guard_(guard), audit_(audit) {}

  // Nobody has to show who it is, and nobody wants to know.
  bool open() const { return guard_.open() && !audit_.denied(); }

  // As Guard::number.
  std::uint64_t number() const { return guard_.number(); }

  // As Guard::Identify.
  Result<Asker> Identify(absl::Span<const std::string_view> authorizations,
                         const Presented* certificate, std::string method, std::string ip) const;

  // kRefused names what is lacking.
  Status Permit(const Asker& asker, const Matter& matter) const;

  // The same for a write of some items, each with remove, type and key. Of none: something has to
  // be allowed, as the answer tells of our peers.
  template <typename Items>
  Status PermitWrite(const Asker& asker, const Items& items) const {
    if (items.empty() && !asker.may().AllowsSome(Verb::kDelete)) {
      return Permit(asker, {Verb::kWrite});
    }
    for (const auto& item : items) {
      if (Status status = Permit(asker, {VerbOf(item), item.type, item.key}); !status.ok()) {
        return status;
      }
    }
    return {};
  }

  // For such a write, to tell its outcome; null when nobody wants to know.
  template <typename Items>
  std::shared_ptr<const AuditedWrite> Audited(const Asker& asker, const Items& items) const {
    if (!audit_.writes()) return nullptr;
    auto audited = std::make_shared<AuditedWrite>(audit_, asker.subject, asker.method, asker.ip);
    for (const auto& item : items) audited->Add(VerbOf(item), item.type, item.key);
    return audited;
  }

 private:
  template <typename Item>
  static Verb VerbOf(const Item& item) {
    return item.remove ? Verb::kDelete : Verb::kWrite;
  }

  const Guard& guard_;
  const Audit& audit_;
};

// Somebody who was let in and stays: what let him in may end before he goes.
// Thread safety: none.
class Standing {
 public:
  // access: must outlive this. The rest is what Access::Identify was given, and its answer.
  Standing(const Access& access, std::vector<std::string> authorizations,
           std::shared_ptr<const Presented> certificate, Asker asker)
      : access_(access),
        authorizations_(std::move(authorizations)),
        certificate_(std::move(certificate)),
        asker_(std::move(asker)) {}

  // He would be let in now, too, and may do what he could then. Looked at when the rules have
  // changed, and once a second.
  bool Holds(SteadyMs now);

 private:
  const Access& access_;
  const std::vector<std::string> authorizations_;
  const std::shared_ptr<const Presented> certificate_;
  const Asker asker_;
  std::uint64_t number_ = 0;  // of the rules that he was looked up in
  SteadyMs look_at_ = 0;
  bool held_ = true;
};

}  // namespace podmirror::trust
