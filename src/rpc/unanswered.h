// Unanswered tells whether an answer is to come on a stream that we dialled, where the other side
// only answers (sync/message.h). One ack may answer several batches. One heartbeat may answer
// several, too: then any() stays true, and costs one more read for each answer.
// Thread safety: Asked from one thread at a time, Answered from one at a time, the two at once.
// Invariant: while any() is false, no answer is to come.
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
    } else {
      others_.fetch_add(1);
    }
  }

  void Answered(const sync::Message& message) {
    if (const auto* ack = std::get_if<sync::Ack>(&message)) {
      acked_.store(ack->seq);
    } else {
      others_.fetch_sub(1);
    }
  }

  bool any() const { return others_ > 0 || acked_ < last_seq_; }

 private:
  std::atomic<std::uint64_t> last_seq_{0};  // of the last batch
  std::atomic<std::uint64_t> acked_{0};
  std::atomic<int> others_{0};
};

}  // namespace podmirror::rpc
