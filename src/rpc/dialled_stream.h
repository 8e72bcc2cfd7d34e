// DialledStream is our end of a stream that we opened to a peer: it carries our writes.
// Thread safety: see exchange_stream.h. The call is held (AddHold) until End, because wakes start
// writes from outside gRPC's reactions.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <memory>
#include <string>

#include "podmirror/v1/peer.grpc.pb.h"
#include "rpc/exchange_stream.h"

namespace podmirror::rpc {

class DialledStream final : public ExchangeStream<grpc::ClientBidiReactor<v1::Frame, v1::Frame>> {
 public:
  // Opens the stream and tells the driver that it is open: Hello goes out at once, its deadline is
  // the node's, and a failure to connect arrives as the stream's end. The stream lives in `streams`
  // until then. An error when it cannot be kept there: the driver has not been told.
  static Status Dial(sync::ConnId conn, const std::string& target, sync::Driver& driver,
                     StreamSet& streams);

  DialledStream(sync::ConnId conn, const std::string& target, sync::Driver& driver,
                StreamSet& streams);

  void OnDone(const grpc::Status& status) override;

 private:
  void Start();
  void Cancel() override;
  void End() override;

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Peer::Stub> stub_;
  grpc::ClientContext context_;
};

}  // namespace podmirror::rpc
