// Access lets calls in: it says who makes one, and whether that may do what the call asks for.
// Thread safety: all calls from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "rpc/callers.h"
#include "sync/types.h"
#include "trust/audit.h"
#include "trust/guard.h"

namespace podmirror::rpc {

// Who makes a call.
struct Asker {
  trust::SubjectRef subject;
  std::string method;  // method and ip: for the audit; empty when there is none
  std::string ip;
};
using AskerRef = std::shared_ptr<const Asker>;

class Access {
 public:
  // All must outlive this.
  Access(const trust::Guard& guard, const trust::Audit& audit, Callers& callers);

  // kUnauthenticated when it is not known who makes a call. Requires: the call has come and is not
  // over.
  Result<AskerRef> Identify(const grpc::ServerContextBase& context, const std::string& method);

  // kRefused names what is lacking. Without a type: for some type; without a key: for some key of
  // the type.
  Status Permit(const Asker& asker, trust::Verb verb, std::optional<std::int32_t> type = {},
                std::string_view key = {}) const;
  Status PermitWrite(const Asker& asker, std::span<const sync::WriteItem> items) const;

  // For a write that is allowed: null when nobody wants to know of it.
  std::shared_ptr<const trust::AuditedWrite> Audited(const Asker& asker,
                                                     std::span<const sync::WriteItem> items) const;

 private:
  const trust::Guard& guard_;
  const trust::Audit& audit_;
  Callers& callers_;
  const AskerRef everybody_;  // where nobody has to be known; else null
};

}  // namespace podmirror::rpc
