// ExchangeStream is what both ends of podmirror.v1.Peer.Exchange have in common: a gRPC reactor
// that gives what it reads to the driver, and writes what the driver has for it. Nothing is queued:
// the next read starts when the driver has taken the last message, the next message is pulled when
// the last write is done.
// Thread safety: reactions come from gRPC's threads, Wake and Close from any; see write_gate.h.
// Invariants: (1) at most one read and one write are in flight; out_ is untouched while it is
//                 written.
//             (2) End is called once; no write is started after it.
//             (3) Driver::Closed is called once, by OnDone, the last of all.
#pragma once

#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "podmirror/v1/peer.pb.h"
#include "rpc/codec.h"
#include "rpc/stream_set.h"
#include "rpc/write_gate.h"
#include "sync/driver.h"

namespace podmirror::rpc {

// Reactor: grpc::ServerBidiReactor or grpc::ClientBidiReactor of <v1::Frame, v1::Frame>.
template <typename Reactor>
class ExchangeStream : public Reactor, public Stream {
 public:
  ExchangeStream(sync::ConnId conn, sync::Driver& driver, StreamSet& streams)
      : Stream(streams), conn_(conn), driver_(driver) {}

  void Wake() final { Do(gate_.Wake()); }

  void Close(const Status& reason) final {
    {
      absl::MutexLock lock(&reason_mu_);
      if (!reason_) reason_ = reason;
    }
    Do(gate_.Close());
  }

  void OnReadDone(bool ok) final {
    if (!ok) {
      Do(gate_.Close());
      return;
    }
    Result<std::optional<sync::Message>> message = Decode(in_);
    in_.Clear();
    if (!message.ok()) {
      Close(message.status());
      return;
    }
    // A message that we do not know comes from a later version: it is skipped.
    if (message->has_value()) driver_.Receive(conn_, std::move(**message));
    if (!gate_.closing()) this->StartRead(&in_);
  }

  void OnWriteDone(bool ok) final {
    if (ok) {
      Pump();
    } else {
      Do(gate_.Fail());
    }
  }

 protected:
  // Makes everything in flight fail soon. Called while the call is still ours.
  virtual void Cancel() = 0;
  // Lets the call end: OnDone follows when all reactions are through.
  virtual void End() = 0;

  void ReadFirst() { this->StartRead(&in_); }

  // Pulls and writes, as the gate's owner: the creator is the first.
  void Pump() {
    WriteGate::Next next = WriteGate::Next::kPump;
    while (next == WriteGate::Next::kPump) {
      if (!gate_.closing()) {
        if (const std::optional<sync::Message> message = driver_.Next(conn_)) {
          Encode(*message, &out_);
          gate_.HandOn();
          this->StartWrite(&out_);
          return;
        }
      }
      next = gate_.Idle();
    }
    Do(next);
  }

  // The last thing that OnDone does: it may destroy this object.
  void Done(const Status& status) {
    if (!gate_.closing()) std::abort();  // gRPC ended what we still use
    driver_.Closed(conn_, status);
    streams().Remove(conn_);
  }

  sync::ConnId conn() const { return conn_; }
  sync::Driver& driver() { return driver_; }
  // Why this side closed the stream; empty when it did not.
  std::optional<Status> reason() const {
    absl::MutexLock lock(&reason_mu_);
    return reason_;
  }

 private:
  void Do(WriteGate::Next next) {
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

  const sync::ConnId conn_;
  sync::Driver& driver_;
  WriteGate gate_;
  v1::Frame in_;   // belongs to the read in flight
  v1::Frame out_;  // belongs to the gate's owner
  mutable absl::Mutex reason_mu_;
  std::optional<Status> reason_ ABSL_GUARDED_BY(reason_mu_);
};

}  // namespace podmirror::rpc
