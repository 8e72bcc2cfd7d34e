// DialledStream is our end of a stream that we opened to a peer: it carries our writes.
// Thread safety: see exchange_stream.h.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>

#include "rpc/channel.h"
#include "rpc/exchange_stream.h"

namespace podmirror::rpc {

class DialledStream final : public ExchangeStream {
 public:
  // Opens the stream and tells the driver that it is open: Hello goes out at once, its deadline is
  // the node's, and a failure to connect arrives as the stream's end. The stream lives in the
  // context's streams until then. An error when it cannot be kept there: the driver has not been
  // told.
  static Status Dial(sync::ConnId conn, const Way& way, const StreamContext& context);

  DialledStream(sync::ConnId conn, const Way& way, const StreamContext& context);

  std::shared_ptr<const trust::Presented> presented() const override {
    return channel_.presented();
  }

 private:
  void Start();
  void StartRead(grpc::ByteBuffer* to, net::Event::Reaction reaction) override {
    call_->Read(to, read_.Expect(std::move(reaction)));
  }
  void StartWrite(const grpc::ByteBuffer& message, net::Event::Reaction reaction) override {
    call_->Write(message, write_.Expect(std::move(reaction)));
  }
  void Cancel() override;
  void EndCall() override;
  Status EndedBecause() const override;

  const PeerChannel channel_;
  grpc::ClientContext call_context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::Status status_;  // valid once the call has ended
  net::Event end_;
  net::Event read_;
  net::Event write_;
};

}  // namespace podmirror::rpc
