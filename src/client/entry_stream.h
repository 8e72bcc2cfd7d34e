// The answer to one GetAll, message by message. The next message is read only when the caller wants
// it: gRPC's flow control then slows the daemon down.
// Thread safety: one thread, while gRPC's threads bring the messages.
// Invariants: (1) at most one message is held, and one more is under way.
//             (2) it is destroyed only when gRPC is done with it: the destructor waits for that,
//                 and cancels the call if messages are still to come.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>

#include "podmirror/v1/cache.grpc.pb.h"

namespace podmirror::client {

class EntryStream final : private grpc::ClientReadReactor<v1::GetAllResponse> {
 public:
  // All that is passed must outlive it.
  EntryStream(v1::Cache::Stub& stub, grpc::ClientContext& context,
              const v1::GetAllRequest& request);
  ~EntryStream() override;

  // The next message, valid until the next call; nullptr at the end, when the call failed, or when
  // it did not come in time: then the call is cancelled and Finish says kDeadline.
  v1::GetAllResponse* Next(std::chrono::milliseconds timeout);

  // Ends the call, cancelling what is left of it, and says how it ended.
  grpc::Status Finish();

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  grpc::ClientContext& context_;
  v1::GetAllResponse message_;  // gRPC's while a read is under way
  bool begun_ = false;
  bool late_ = false;
  bool released_ = false;

  absl::Mutex mu_;
  absl::CondVar changed_;
  bool reading_ ABSL_GUARDED_BY(mu_) = true;  // the first read starts with the call
  bool ended_ ABSL_GUARDED_BY(mu_) = false;   // no more messages
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::client
