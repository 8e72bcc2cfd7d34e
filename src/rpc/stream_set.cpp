#include "rpc/stream_set.h"

#include <utility>
#include <vector>

namespace podmirror::rpc {

Stream::Stream(StreamSet& streams) : streams_(streams) {
  absl::MutexLock lock(&streams_.mu_);
  ++streams_.alive_;
}

Stream::~Stream() {
  absl::MutexLock lock(&streams_.mu_);
  if (--streams_.alive_ == 0) streams_.none_alive_.SignalAll();
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): it is moved from
Status StreamSet::Add(sync::ConnId conn, std::shared_ptr<Stream> stream, std::size_t most) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return {Code::kUnavailable, "shutting down"};
  if (streams_.size() >= most) return {Code::kExhausted, "too many streams"};
  streams_.emplace(conn, std::move(stream));
  return {};
}

std::shared_ptr<Stream> StreamSet::Find(sync::ConnId conn) const {
  absl::MutexLock lock(&mu_);
  const auto found = streams_.find(conn);
  return found == streams_.end() ? nullptr : found->second;
}

void StreamSet::Remove(sync::ConnId conn) {
  std::shared_ptr<Stream> stream;  // outlives the lock: it may be the last reference
  absl::MutexLock lock(&mu_);
  const auto found = streams_.find(conn);
  if (found == streams_.end()) return;
  stream = std::move(found->second);
  streams_.erase(found);
}

std::vector<std::shared_ptr<Stream>> StreamSet::All() const {
  std::vector<std::shared_ptr<Stream>> streams;
  absl::MutexLock lock(&mu_);
  streams.reserve(streams_.size());
  for (const auto& [conn, stream] : streams_) streams.push_back(stream);
  return streams;
}

bool StreamSet::Stop(absl::Duration timeout) {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  for (const auto& stream : All()) stream->Close({Code::kUnavailable, "shutting down"});
  absl::MutexLock lock(&mu_);
  // Signalled once, when no stream is left; else the timeout ends the wait.
  while (alive_ != 0) {
    if (none_alive_.WaitWithTimeout(&mu_, timeout)) break;
  }
  return alive_ == 0;
}

}  // namespace podmirror::rpc
