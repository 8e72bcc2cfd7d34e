// How a daemon reaches another one's gRPC port.
// Thread safety: as each says.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "rpc/tls.h"
#include "trust/keyring.h"

namespace podmirror::rpc {

// One attempt to reach a peer: where, and how.
struct Way {
  std::string target;  // net/grpc_channel.h
  // What we prove ourselves with, and whom it leads to; null without TLS.
  const trust::Keyring* keyring = nullptr;
  std::shared_ptr<DialledPeer> peer;
};

// A channel for one stream to a peer, and whom it led to. Only the queue of gRPC and the thread
// that dialled call it, presented and refusal any thread.
class PeerChannel {
 public:
  PeerChannel(const Way& way, const Env& env);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  std::shared_ptr<const trust::Presented> presented() const {
    return peer_ == nullptr ? nullptr : peer_->presented();
  }
  // How a call that ended with `status` ended: the reason why the other side is no peer, where that
  // was found. A call that went well is not asked about.
  Status Outcome(const Status& status) const;

 private:
  const std::shared_ptr<DialledPeer> peer_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace podmirror::rpc
