// The Registrar keeps this daemon's own entry in the registry: written under a lease, kept alive,
// written again when it is lost for whatever reason, revoked at the end.
// Thread safety: Start once, then Stop once; all else from any thread.
// Invariants: (1) an entry that is not ours is never overwritten: ours is one with our UID that was
//                 not written by a later run.
//             (2) suspect_until is set before we write again what was lost.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "discovery/etcd_failures.h"
#include "discovery/etcd_options.h"
#include "discovery/registry_lease.h"
#include "discovery/registry_record.h"
#include "discovery/source_thread.h"

namespace podmirror::discovery {

class Registrar {
 public:
  struct State {
    std::string error;           // why we are not registered; empty while we are
    SteadyMs suspect_until = 0;  // others may have lost their entry too, and write it until then
  };

  // The entry lies in options.where. `changed` is called from the registrar's thread when the error
  // is another one, or when suspect_until has passed.
  Registrar(const CheckedEtcdOptions& options, RegistryRecord self, std::chrono::seconds ttl,
            std::function<void()> changed, Env& env);
  ~Registrar();

  void Start();
  // Returns within a second: true when the entry was there and is gone now. If etcd cannot be
  // reached, the entry goes when its lease ends.
  bool Stop();
  bool stopped() const { return thread_.stopping(); }

  void SetReady(bool ready);
  // The registry was read, and our entry is missing though it was there before.
  void EntryMissing();
  State state() const;

 private:
  void Run();
  Status Step();
  void Failed(const Status& status);
  Status Write(bool was_held);
  Status WriteOver(const RegistryLease::Entry& entry) const;
  void Suspect();
  SteadyMs Interval() const;
  void SetError(std::string error);

  const std::string key_;
  const std::chrono::seconds wanted_ttl_;
  const std::function<void()> changed_;
  RegistryLease client_;
  SourceThread thread_;

  // For the registrar's thread only; Stop uses them when that thread has ended.
  EtcdFailures failures_;
  Backoff backoff_;
  std::int64_t lease_ = 0;  // 0 = none
  bool written_ = false;    // our entry was there when we looked last
  bool held_ = false;       // the last round failed because the entry is somebody else's

  mutable absl::Mutex mutex_;
  RegistryRecord self_ ABSL_GUARDED_BY(mutex_);
  std::chrono::milliseconds ttl_ ABSL_GUARDED_BY(mutex_);  // as wanted, then as granted
  State state_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace podmirror::discovery
