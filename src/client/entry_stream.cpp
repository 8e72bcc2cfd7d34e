#include "client/entry_stream.h"

#include <absl/time/time.h>

namespace podmirror::client {
namespace {

constexpr int kStatusMs = 1000;

}  // namespace

EntryStream::EntryStream(v1::Cache::Stub& stub, grpc::ClientContext& context,
                         const v1::GetAllRequest& request)
    : context_(context) {
  stub.async()->GetAll(&context_, &request, this);
  AddHold();  // reads are started outside of gRPC's own calls
  StartRead(&message_);
  StartCall();
}

EntryStream::~EntryStream() { static_cast<void>(Finish()); }

v1::GetAllResponse* EntryStream::Next(std::chrono::milliseconds timeout) {
  if (begun_) {
    {
      absl::MutexLock lock(&mu_);
      if (ended_) return nullptr;
      reading_ = true;
    }
    StartRead(&message_);
  }
  begun_ = true;
  {
    absl::MutexLock lock(&mu_);
    const auto arrived = [](bool* reading) { return !*reading; };
    if (mu_.AwaitWithTimeout(absl::Condition(+arrived, &reading_), absl::FromChrono(timeout))) {
      return ended_ ? nullptr : &message_;
    }
  }
  late_ = true;
  context_.TryCancel();
  return nullptr;
}

grpc::Status EntryStream::Finish() {
  if (!released_) {
    released_ = true;
    RemoveHold();
  }
  absl::MutexLock lock(&mu_);
  // After the last message there is only the status to come; cancelling could take its place.
  const bool done =
      ended_ && mu_.AwaitWithTimeout(absl::Condition(&done_), absl::Milliseconds(kStatusMs));
  if (!done) {
    mu_.Unlock();
    context_.TryCancel();
    mu_.Lock();
    mu_.Await(absl::Condition(&done_));
  }
  if (late_) return {grpc::StatusCode::DEADLINE_EXCEEDED, ""};
  return status_;
}

void EntryStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  ended_ = !ok;
}

void EntryStream::OnDone(const grpc::Status& status) {
  absl::MutexLock lock(&mu_);
  status_ = status;
  done_ = true;
}

}  // namespace podmirror::client
