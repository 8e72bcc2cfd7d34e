// The part of etcd's v3 API that a source needs, on one member at a time: a consistent list of a
// prefix and a watch of it. Knows nothing of pods.
// Thread safety: Wake from any thread, all else from one thread.
// Invariants: (1) every call returns within its deadline, and soon after Wake when `stopping`.
//             (2) at most one watch is open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "discovery/etcd_options.h"

namespace podmirror::discovery {

// One change, or one key of a list.
struct EtcdKeyValue {
  std::string key;
  std::string value;
  std::int64_t mod_revision = 0;
  bool deleted = false;
};

// What one message of a watch brought. All parts may be empty.
struct EtcdWatchAnswer {
  std::vector<EtcdKeyValue> changes;  // in the order of their revisions
  std::int64_t revision = 0;          // of the store; 0 = the message does not tell it
  bool partial = false;               // more of the same revision follows
};

class EtcdV3Client {
 public:
  using OnKey = std::function<Status(EtcdKeyValue)>;

  virtual ~EtcdV3Client() = default;

  // Hands all keys below `prefix` to `on_key`, as they were at one revision, and returns that
  // revision. Ends early with the status of `on_key` when `on_key` fails. kNotFound: etcd has
  // compacted that revision meanwhile; call List again. Other codes come from etcd or the
  // connection.
  virtual Result<std::int64_t> List(const std::string& prefix, const OnKey& on_key) = 0;

  // Opens a watch of `prefix` from `revision` on, on the member that List spoke with.
  virtual Status OpenWatch(const std::string& prefix, std::int64_t revision) = 0;

  // The next message; nullopt at `until` or after Wake. After a failure the watch is of no use, and
  // the caller has to list again. Requires: OpenWatch went well and no failure came since.
  virtual Result<std::optional<EtcdWatchAnswer>> NextWatchAnswer(SteadyMs until) = 0;

  // How many keys lie below `prefix` now, asked while a watch is open. kInternal: the store is not
  // the one that List has read.
  virtual Result<std::int64_t> CountKeys(const std::string& prefix) = 0;

  // No-op when no watch is open.
  virtual void CloseWatch() = 0;

  // All further calls go to the next member, over a new connection.
  virtual void NextEndpoint() = 0;
  virtual std::string endpoint_name() const = 0;

  // Makes a NextWatchAnswer under way return. Other calls go on, unless `stopping` says to give up.
  virtual void Wake() = 0;
};

// `stopping` is asked, on the calling thread, whether to give up. Times are those of `env`.
std::unique_ptr<EtcdV3Client> NewEtcdV3Client(CheckedEtcdOptions options,
                                              std::function<bool()> stopping, Env& env);

}  // namespace podmirror::discovery
