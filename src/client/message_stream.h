// The answer to one streamed call, message by message. The next message is read only when the
// caller wants it: gRPC's flow control then slows the daemon down. Thread safety: one thread, while
// gRPC's threads bring the messages. Invariants: (1) at most one message is held, and one more is
// under way.
//             (2) it is destroyed only when gRPC is done with it: the destructor waits for that,
//                 and cancels the call if messages are still to come.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>

namespace podmirror::client {

template <typename Response>
class MessageStream final : private grpc::ClientReadReactor<Response> {
 public:
  // begin(reactor) calls the stub's method. The context must outlive this.
  template <typename Begin>
  MessageStream(grpc::ClientContext& context, const Begin& begin) : context_(context) {
    begin(static_cast<grpc::ClientReadReactor<Response>*>(this));
    this->AddHold();  // reads are started outside of gRPC's own calls
    this->StartRead(&message_);
    this->StartCall();
  }
  ~MessageStream() override { static_cast<void>(Finish()); }

  // The next message, valid until the next call; nullptr at the end, when the call failed, or when
  // it did not come in time: then the call is cancelled and Finish says DEADLINE_EXCEEDED.
  Response* Next(std::chrono::milliseconds timeout) {
    if (begun_) {
      {
        absl::MutexLock lock(&mu_);
        if (ended_) return nullptr;
        reading_ = true;
      }
      this->StartRead(&message_);
    }
    begun_ = true;
    {
      absl::MutexLock lock(&mu_);
      bool late = false;
      while (reading_ && !late) late = changed_.WaitWithTimeout(&mu_, absl::FromChrono(timeout));
      if (!reading_) return ended_ ? nullptr : &message_;
    }
    late_ = true;
    context_.TryCancel();
    return nullptr;
  }

  // Ends the call, cancelling what is left of it, and says how it ended.
  grpc::Status Finish() {
    if (!released_) {
      released_ = true;
      this->RemoveHold();
    }
    absl::MutexLock lock(&mu_);
    // After the last message only the status is to come: it is waited for, because cancelling could
    // replace it.
    bool late = !ended_;
    while (!done_ && !late) late = changed_.WaitWithTimeout(&mu_, kStatusTime);
    if (!done_) {
      mu_.Unlock();
      context_.TryCancel();
      mu_.Lock();
    }
    while (!done_) changed_.Wait(&mu_);
    if (late_) return {grpc::StatusCode::DEADLINE_EXCEEDED, ""};
    return status_;
  }

 private:
  static constexpr absl::Duration kStatusTime = absl::Seconds(1);

  void OnReadDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    reading_ = false;
    ended_ = !ok;
    changed_.SignalAll();
  }
  void OnDone(const grpc::Status& status) override {
    absl::MutexLock lock(&mu_);
    status_ = status;
    done_ = true;
    changed_.SignalAll();
  }

  grpc::ClientContext& context_;
  Response message_;  // gRPC's while a read is under way
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
