// How a connection goes from one thread to another: where it is left for its worker, and who may
// send on it. Thread safety: all calls from any thread, as each says who makes it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace podmirror::rest {

class Connection;

// Where other threads leave connections for a worker. Thread safety: all calls from any thread.
class Inbox {
 public:
  Inbox();  // fd() is -1 when the system has no descriptor left
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Hands `connection` to the worker and wakes the worker; after Close the connection is dropped.
  void Post(std::shared_ptr<Connection> connection);
  void Wake();
  // Wakes the worker if it has streams, to ask each of them for more, or if it is to `look`.
  void Changed(bool look);
  // Worker: whether it has been woken for that since.
  bool TakeChanged() { return changed_.exchange(false); }
  std::vector<std::shared_ptr<Connection>> Take();
  void Close();
  int fd() const { return fd_; }  // readable when there is something to look at

  std::atomic<int> connections{0};  // of this worker; a new one goes to the worker with the fewest
  std::atomic<int> streams{0};      // those of them whose answer is a stream

 private:
  const int fd_;
  std::atomic<bool> changed_{false};
  absl::Mutex mu_;
  std::vector<std::shared_ptr<Connection>> posted_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

// Who owns a connection's output. Thread safety: all calls from any thread.
class Handoff {
 public:
  // Worker: a request goes to its handler.
  void Begin();
  // Worker: the handler returned. True when it has been answered already: the worker goes on with
  // the connection. False: the worker leaves the connection alone until another thread answers;
  // `attention` = the worker has more to do with it then.
  bool End(bool attention);
  // Worker: something happened on the socket. True when an answer is owed: the worker leaves the
  // connection alone, and Answered will return true.
  bool Defer();
  // Worker: true when an answer is owed after End.
  bool waiting();
  // Answering thread: the answer was sent, as far as the socket took it. True when the worker must
  // be told, because it has more to do.
  bool Answered(bool attention);

 private:
  enum class Phase : std::uint8_t { kWorker, kHandling, kAnswered, kWaiting };
  absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kWorker;
  bool attention_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace podmirror::rest
