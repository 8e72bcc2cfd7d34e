// Unanswered tells whether an answer is to come on a stream that we dialled, where the other side
// only answers (sync/message.h). Acks may be put together, and so may heartbeats.
// Thread safety: Asked from one thread at a time, Answered from one at a time, the two at once.
// Invariant: while any() is false, no answer is to come but one to a heartbeat that another
// heartbeat has answered.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/message.h"

namespace podmirror::rpc {

class Unanswered {
 public:
  // Before the message is written.
  void Asked(const sync::Message& message) {
    if (const auto* batch = std::get_if<sync::Batch>(&message)) {
      last_seq_.store(batch->last_seq);
    } else if (std::holds_alternative<sync::Heartbeat>(message)) {
      heartbeat_.store(true);
    } else {
      requests_.fetch_add(1);
    }
  }

  void Answered(const sync::Message& message) {
    if (const auto* ack = std::get_if<sync::Ack>(&message)) {
      acked_.store(ack->seq);
    } else if (std::holds_alternative<sync::Heartbeat>(message)) {
      heartbeat_.store(false);
    } else {
      requests_.fetch_sub(1);
    }
  }

  bool any() const { return heartbeat_ || requests_ > 0 || acked_ < last_seq_; }

 private:
  std::atomic<std::uint64_t> last_seq_{0};  // of the last batch
  std::atomic<std::uint64_t> acked_{0};
  std::atomic<bool> heartbeat_{false};
  std::atomic<int> requests_{0};
};

}  // namespace podmirror::rpc
