// GatedStream is a stream whose sending side a WriteGate guards: it carries out what the gate says.
// Thread safety: Wake and Close from any thread; see write_gate.h.
#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "rpc/stream_set.h"
#include "rpc/write_gate.h"

namespace podmirror::rpc {

class GatedStream : public Stream {
 public:
  using Stream::Stream;

  void Wake() final { Do(gate_.Wake()); }
  void Close(const Status& reason) final;

 protected:
  // Pulls and writes, as the gate's owner.
  virtual void Pump() = 0;
  // Makes everything in flight fail soon. Called while the gate has not said its end.
  virtual void Cancel() = 0;
  // Nothing will be written any more. Called once.
  virtual void End() = 0;

  void Do(WriteGate::Next next);
  WriteGate& gate() { return gate_; }
  // Why this side closed the stream; empty when it did not.
  std::optional<Status> reason() const;

 private:
  WriteGate gate_;
  mutable absl::Mutex reason_mu_;
  std::optional<Status> reason_ ABSL_GUARDED_BY(reason_mu_);
};

}  // namespace podmirror::rpc
