// AcceptedStream is our end of a stream that a peer opened to us: it brings the peer's writes.
// Thread safety: see exchange_stream.h.
#pragma once

#include <memory>

#include "rpc/exchange_stream.h"
#include "rpc/server_call.h"

namespace podmirror::rpc {

class AcceptedStream final : public ExchangeStream {
 public:
  // Takes a call of podmirror.v1.Peer.Exchange, whose maker has presented a peer's certificate, or
  // null where none is needed. It lives in the context's streams until its end.
  static void Accept(const std::shared_ptr<ServerCall>& call,
                     std::shared_ptr<const trust::Presented> presented,
                     const StreamContext& context);

  AcceptedStream(sync::ConnId conn, std::shared_ptr<ServerCall> call,
                 std::shared_ptr<const trust::Presented> presented, const StreamContext& context)
      : ExchangeStream(conn, false, context),
        call_(std::move(call)),
        presented_(std::move(presented)) {}

  std::shared_ptr<const trust::Presented> presented() const override { return presented_; }

 private:
  void StartRead(grpc::ByteBuffer* to, net::Event::Reaction reaction) override {
    call_->Read(to, std::move(reaction));
  }
  void StartWrite(const grpc::ByteBuffer& message, net::Event::Reaction reaction) override {
    call_->Write(message, std::move(reaction));
  }
  void Cancel() override { call_->Cancel(); }
  void EndCall() override;
  Status EndedBecause() const override { return {Code::kUnavailable, "stream ended by the peer"}; }

  const std::shared_ptr<ServerCall> call_;
  const std::shared_ptr<const trust::Presented> presented_;
};

}  // namespace podmirror::rpc
