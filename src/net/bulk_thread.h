// BulkThread does the work that would keep a thread on which others wait for long: of gRPC's queue
// reading and merging large messages, making parts of a copy and whole listings; of a worker of
// REST looking at the whole cache. Thread safety: PostForPeers, Post and TryPost from any thread.
// Invariants: tasks run one after the other: those of peers' streams first, else in the order in
// which they were posted. A stream has two there at most, and a call one.
#pragma once

#include <cstddef>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace podmirror::net {

// What is at least so large takes long.
inline constexpr std::size_t kBulkBytes = 32 * 1024;

class BulkThread {
 public:
  // name: of the thread, for debuggers; at most 15 bytes.
  explicit BulkThread(const char* name);
  ~BulkThread() { Stop(); }
  BulkThread(const BulkThread&) = delete;
  BulkThread& operator=(const BulkThread&) = delete;

  using Task = absl::AnyInvocable<void()>;
  void PostForPeers(Task task);
  void Post(Task task);
  // The same for who bounds nothing himself. False: `most` tasks wait already, and it is not taken.
  bool TryPost(std::size_t most, Task task);
  // Runs what has been posted, then ends. Idempotent, from one thread.
  void Stop();

 private:
  void Run();

  absl::Mutex mu_;
  absl::CondVar posted_;
  std::deque<Task> for_peers_ ABSL_GUARDED_BY(mu_);
  std::deque<Task> others_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace podmirror::net
