// A session with one member of an etcd at a time: its connection, its user's token, and calls that
// end by their deadline or soon after Wake.
// Thread safety: Wake from any thread, all else from one thread.
// Invariants: (1) no more is under way than one operation of a watch and one call; a call is made
//                 only while the watch is read or there is none.
//             (2) certificates and keys are read again for each new connection, the password for
//                 each new token: rotated files are taken up without a restart.
//             (3) only Range, Watch and Authenticate are ever called: the etcd may be Kubernetes'
//                 own.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "discovery/etcd_options.h"
#include "etcd/rpc.pb.h"
#include "net/grpc_queue.h"

namespace podmirror::discovery {

inline constexpr SteadyMs kForever = std::numeric_limits<SteadyMs>::max();
// A read that is lost with its leader is never answered, so the first deadline is short. A server
// or network that is only slow gets more time after each call that ran into the deadline.
inline constexpr SteadyMs kFirstCallTimeoutMs = 2'000;
inline constexpr SteadyMs kLastCallTimeoutMs = 16'000;

class EtcdV3Session {
 public:
  // What may be under way.
  enum class Op : std::uint8_t { kCall, kStart, kWrite, kRead, kFinish };
  enum class Outcome { kDone, kFailed, kTimeout, kWoken };

  // `stopping` is asked, on the calling thread, whether to give up.
  EtcdV3Session(CheckedEtcdOptions checked, std::function<bool()> stopping, Env& env);
  // Requires: nothing is under way.
  ~EtcdV3Session() = default;

  // A connection, not necessarily open yet, and a token where a user is set.
  Status Connect();
  // All later calls go to the next member, over a new connection, with a new token.
  // Requires: nothing is under way.
  void NextEndpoint();
  std::string endpoint_name() const { return checked_.endpoints[endpoint_].ToString(); }

  // When the call fails for want of a new token, gets one and calls once more. Requires: Connect
  // went well.
  grpc::Status Range(const etcdserverpb::RangeRequest& request,
                     etcdserverpb::RangeResponse& response);

  // A watch that is not started yet: its messages are bytes.
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> PrepareWatch(grpc::ClientContext& context);
  // The tag for an operation that is then awaited by Await(op).
  void* TagOf(Op op);

  // Waits for the end of `op`, for `until` on the clock of `env`, or for Wake. Another operation
  // that ends meanwhile is kept for its own Await.
  Outcome Await(Op op, SteadyMs until);
  // Ends the Await under way or the next one.
  void Wake();
  bool stopping() const { return stopping_(); }

  // The failure in our codes, saying what to do about it where we know.
  Status ToStatus(const grpc::Status& status) const;

 private:
  static constexpr std::size_t kOps = 5;

  // What was heard and not yet awaited. Shared with reactions, which may be about to leave it when
  // the session is destroyed.
  struct News {
    absl::Mutex mu;
    absl::CondVar any;
    std::array<std::optional<Outcome>, kOps> ended ABSL_GUARDED_BY(mu);
    bool woken ABSL_GUARDED_BY(mu) = false;
  };

  Status Authenticate();
  grpc::Status Unary(const char* method, const google::protobuf::Message& request,
                     google::protobuf::Message& response);
  // What the context of each call has to carry.
  void Prepare(grpc::ClientContext& context) const;

  const CheckedEtcdOptions checked_;
  const std::function<bool()> stopping_;
  Env& env_;

  std::size_t endpoint_ = 0;
  std::shared_ptr<grpc::Channel> channel_;  // to endpoint_; null until Connect
  std::string token_;                       // empty: none, or none is needed
  bool has_token_ = false;                  // Authenticate went well on this connection
  SteadyMs call_timeout_ms_ = kFirstCallTimeoutMs;

  const std::unique_ptr<net::GrpcQueue> own_queue_;  // null when the options name one
  net::GrpcQueue& queue_;
  std::array<net::Event, kOps> events_;
  const std::shared_ptr<News> news_ = std::make_shared<News>();
};

}  // namespace podmirror::discovery
