#include "rpc/gated_stream.h"

namespace podmirror::rpc {

void GatedStream::Close(const Status& reason) {
  {
    absl::MutexLock lock(&reason_mu_);
    if (!reason_) reason_ = reason;
  }
  Do(gate_.Close());
}

std::optional<Status> GatedStream::reason() const {
  absl::MutexLock lock(&reason_mu_);
  return reason_;
}

void GatedStream::Do(WriteGate::Next next) {
  switch (next) {
    case WriteGate::Next::kNothing:
      return;
    case WriteGate::Next::kPump:
      Pump();
      return;
    case WriteGate::Next::kCancel:
      Cancel();
      Do(gate_.Leave());
      return;
    case WriteGate::Next::kEnd:
      End();
      return;
  }
}

}  // namespace podmirror::rpc
