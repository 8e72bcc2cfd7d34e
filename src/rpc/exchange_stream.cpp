#include "rpc/exchange_stream.h"

#include <utility>
#include <variant>

#include "podmirror/v1/peer.pb.h"
#include "rpc/server_call.h"
#include "wire/codec.h"

namespace podmirror::rpc {

ExchangeStream::ExchangeStream(sync::ConnId conn, bool asks, const StreamContext& context)
    : GatedStream(context.streams), conn_(conn), asks_(asks), context_(context) {}

void ExchangeStream::Begin() {
  Pump();
  ReadNext();
}

void ExchangeStream::CallEnded() {
  call_ended_.store(true);
  Do(gate().Close());
  EndReading();
  PartEnded();
}

// gRPC tells the end of a call that we opened only when all that came has been read.
void ExchangeStream::End() {
  EndCall();
  ReadNext();
}

void ExchangeStream::Pump() {
  WriteGate::Next next = WriteGate::Next::kPump;
  while (next == WriteGate::Next::kPump) {
    if (!gate().closing()) {
      sync::Outgoing outgoing = context_.driver.Pull(conn_);
      if (const auto* message = std::get_if<sync::Message>(&outgoing)) {
        Write(*message);
        return;
      }
      if (auto* question = std::get_if<sync::Question>(&outgoing)) {
        context_.bulk.PostForPeers([self = shared_from_this(), question = std::move(*question)] {
          self->Write(self->context_.driver.AnswerTo(question));
        });
        return;
      }
    }
    next = gate().Idle();
  }
  Do(next);
}

void ExchangeStream::Write(const sync::Message& message) {
  v1::Frame frame;
  wire::Encode(message, &frame);
  out_ = ToBytes(frame);
  unanswered_.Asked(message);
  context_.queue.Start([&] {
    StartWrite(out_, [self = shared_from_this()](bool ok) { self->OnWritten(ok); });
    ReadNext();
  });
}

void ExchangeStream::OnWritten(bool ok) {
  if (ok) {
    Pump();
  } else {
    Do(gate().Fail());
  }
}

void ExchangeStream::ReadNext() {
  Reading now = Reading::kIdle;
  while (!reading_.compare_exchange_weak(
      now, now == Reading::kIdle ? Reading::kStarted : Reading::kTakingThenNext)) {
    if (now != Reading::kIdle && now != Reading::kTaking) return;
  }
  if (now == Reading::kTaking) return;
  context_.queue.Start(
      [&] { StartRead(&in_, [self = shared_from_this()](bool ok) { self->OnRead(ok); }); });
}

void ExchangeStream::OnRead(bool ok) {
  reading_.store(Reading::kTaking);
  if (!ok) {
    Do(gate().Close());
    reading_.store(Reading::kOver);
    PartEnded();
  } else if (in_.Length() < net::kBulkBytes) {
    TakeMessage();
  } else {
    context_.bulk.PostForPeers([self = shared_from_this()] { self->TakeMessage(); });
  }
}

void ExchangeStream::TakeMessage() {
  v1::Frame frame;
  Status status = FromBytes(in_, &frame);
  if (status.ok()) {
    Result<std::optional<sync::Message>> message = wire::Decode(frame);
    if (!message.ok()) {
      status = message.status();
    } else if (message->has_value() && !gate().closing()) {
      // A message that we do not know comes from a later version: it is skipped.
      unanswered_.Answered(**message);
      context_.driver.Receive(conn_, std::move(**message));
    }
  }
  if (!status.ok()) Close(status);
  const bool next = reading_.exchange(Reading::kIdle) == Reading::kTakingThenNext;
  if (call_ended_.load()) {
    EndReading();
  } else if (next || !asks_ || unanswered_.any() || gate().closing()) {
    ReadNext();
  }
}

void ExchangeStream::EndReading() {
  Reading idle = Reading::kIdle;
  if (reading_.compare_exchange_strong(idle, Reading::kOver)) PartEnded();
}

void ExchangeStream::PartEnded() {
  if (parts_.fetch_sub(1) != 1) return;
  context_.driver.Closed(conn_, reason().value_or(EndedBecause()));
  context_.streams.Remove(conn_);
}

}  // namespace podmirror::rpc
