// StreamSet holds the live streams of this daemon, inbound and dialled, by their id. It keeps a
// stream alive until that stream has told the driver its end and removes itself.
// Thread safety: all calls from any thread; no lock is held while a stream is called or destroyed.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "net/bulk_thread.h"
#include "net/grpc_queue.h"
#include "sync/driver.h"
#include "sync/types.h"
#include "trust/presented.h"

namespace podmirror::rpc {

class StreamSet;

// One stream between two daemons. Calls from any thread, never blocking, also after its end.
class Stream {
 public:
  explicit Stream(StreamSet& streams);
  // A thread that has found the stream may hold it for a moment after the stream's end. So the set
  // counts a stream until its destructor.
  virtual ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // The node may have something to send.
  virtual void Wake() = 0;
  // Ends the stream soon, whatever is in flight; `reason` is told to both sides where possible.
  virtual void Close(const Status& reason) = 0;
  // The certificate that the other side presented; null without TLS, or before it has.
  virtual std::shared_ptr<const trust::Presented> presented() const = 0;

 private:
  StreamSet& streams_;
};

// What all streams work with. All of it must outlive them.
struct StreamContext {
  sync::Driver& driver;
  StreamSet& streams;
  net::GrpcQueue& queue;
  net::BulkThread& bulk;
  const Env& env;
};

class StreamSet {
 public:
  // More streams than any set of pods needs in which each pod links with each. A flood of inbound
  // streams ends at the first limit, which leaves room for as many streams that we dial.
  static constexpr std::size_t kMaxWithAccepted = 8192;
  static constexpr std::size_t kMaxWithDialled = 2 * kMaxWithAccepted;

  // kUnavailable after Stop, kExhausted when there are `most` streams; then `stream` is not kept.
  Status Add(sync::ConnId conn, std::shared_ptr<Stream> stream, std::size_t most);
  // Null when there is none.
  std::shared_ptr<Stream> Find(sync::ConnId conn) const;
  // May destroy the stream.
  void Remove(sync::ConnId conn);

  // All that there are now.
  std::vector<std::shared_ptr<Stream>> All() const;

  // Takes no more streams, closes all and waits until the last is destroyed: only then are their
  // channels gone, which gRPC must not be left to destroy on a thread of its own. False when some
  // are still there after `timeout`. Not from a reaction: it blocks.
  bool Stop(absl::Duration timeout);

 private:
  friend class Stream;

  mutable absl::Mutex mu_;
  absl::CondVar none_alive_;
  std::size_t alive_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<sync::ConnId, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace podmirror::rpc
