// AcceptedStream is our end of a stream that a peer opened to us: it brings the peer's writes.
// Thread safety: see exchange_stream.h.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "rpc/exchange_stream.h"

namespace podmirror::rpc {

class AcceptedStream final : public ExchangeStream<grpc::ServerBidiReactor<v1::Frame, v1::Frame>> {
 public:
  // context: of the call, valid until OnDone.
  AcceptedStream(sync::ConnId conn, grpc::CallbackServerContext* context, sync::Driver& driver,
                 StreamSet& streams)
      : ExchangeStream(conn, driver, streams), context_(context) {}

  // Begins to read and to write. Once.
  void Start();

  void OnDone() override;

 private:
  void Cancel() override;
  void End() override;

  grpc::CallbackServerContext* const context_;
};

// podmirror.v1.Peer: each call becomes a stream in `streams`. Both must outlive the service.
std::unique_ptr<grpc::Service> NewPeerService(sync::Driver& driver, StreamSet& streams);

}  // namespace podmirror::rpc
