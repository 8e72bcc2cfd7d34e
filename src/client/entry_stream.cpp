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
    bool late = false;
    while (reading_ && !late) late = changed_.WaitWithTimeout(&mu_, absl::FromChrono(timeout));
    if (!reading_) return ended_ ? nullptr : &message_;
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
  // After the last message only the status is to come: it is waited for, because cancelling could
  // replace it.
  bool late = !ended_;
  while (!done_ && !late) late = changed_.WaitWithTimeout(&mu_, absl::Milliseconds(kStatusMs));
  if (!done_) {
    mu_.Unlock();
    context_.TryCancel();
    mu_.Lock();
  }
  while (!done_) changed_.Wait(&mu_);
  if (late_) return {grpc::StatusCode::DEADLINE_EXCEEDED, ""};
  return status_;
}

void EntryStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  ended_ = !ok;
  changed_.SignalAll();
}

void EntryStream::OnDone(const grpc::Status& status) {
  absl::MutexLock lock(&mu_);
  status_ = status;
  done_ = true;
  changed_.SignalAll();
}

}  // namespace podmirror::client
