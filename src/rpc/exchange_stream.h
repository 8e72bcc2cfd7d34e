// ExchangeStream is what both ends of podmirror.v1.Peer.Exchange have in common: it gives what it
// reads to the driver, and writes what the driver has for it. Nothing is queued: the next read
// starts when the driver has taken the last message, the next message is pulled when the last write
// is done.
//
// When the next read starts: gRPC 1.51 tells the other side of each read that starts, which wakes
// it. So a read is started behind a write, whose packets wake the other side anyway. Only when more
// is to come before the next write, or the end, it is started at once.
//
// Thread safety: reactions come by the queue, Wake and Close from any thread; see write_gate.h for
// who writes. A large message is decoded and merged by the bulk thread, and no read is in flight
// meanwhile; an answer that takes long is made there, too, and no write is in flight meanwhile.
// Invariants: (1) at most one read and one write are in flight; Driver::Receive calls do not
//                 overlap.
//             (2) EndCall is called once; no write is started after it, and what is read then is
//                 thrown away.
//             (3) Driver::Closed is called once, when nothing uses the call any more: the last of
//                 all.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/status.h"
#include "net/grpc_queue.h"
#include "rpc/gated_stream.h"
#include "rpc/stream_set.h"
#include "rpc/unanswered.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::rpc {

class ExchangeStream : public GatedStream, public std::enable_shared_from_this<ExchangeStream> {
 public:
  // asks: this side asks, the other one only answers.
  ExchangeStream(sync::ConnId conn, bool asks, const StreamContext& context);

 protected:
  // Starts a read or a write; the reaction is to be called when it is through.
  virtual void StartRead(grpc::ByteBuffer* to, net::Event::Reaction reaction) = 0;
  virtual void StartWrite(const grpc::ByteBuffer& message, net::Event::Reaction reaction) = 0;
  // Nothing will be written any more: lets the call end. Ended follows.
  virtual void EndCall() = 0;
  // How the call ended, when this side did not close it.
  virtual Status EndedBecause() const = 0;

  // Begins to read and to write. Once.
  void Begin();
  // The call is over for gRPC: it closes the stream.
  void CallEnded();
  // What EndCall has begun is through.
  void Ended() { PartEnded(); }

  sync::ConnId conn() const { return conn_; }
  const StreamContext& context() const { return context_; }

 private:
  // kIdle: a read may be started. kTaking: a message is being taken; kTakingThenNext: and the next
  // read is wanted at once. kOver: none will be started.
  enum class Reading : std::uint8_t { kIdle, kStarted, kTaking, kTakingThenNext, kOver };

  void Pump() final;
  void End() final;
  // Encodes and writes, as the gate's owner.
  void Write(const sync::Message& message);
  void OnWritten(bool ok);
  // Starts the next read, or makes TakeMessage do it.
  void ReadNext();
  void OnRead(bool ok);
  void TakeMessage();
  // The reading ends, unless a read or a message is under way: that will end it.
  void EndReading();
  // One of three that use the call has ended: reading, writing, the call itself.
  void PartEnded();

  const sync::ConnId conn_;
  const bool asks_;
  const StreamContext context_;
  std::atomic<Reading> reading_{Reading::kIdle};
  std::atomic<bool> call_ended_{false};
  Unanswered unanswered_;
  std::atomic<int> parts_{3};
  grpc::ByteBuffer in_;   // belongs to the read in flight, or to who takes it
  grpc::ByteBuffer out_;  // belongs to the gate's owner; untouched while it is written
};

}  // namespace podmirror::rpc
