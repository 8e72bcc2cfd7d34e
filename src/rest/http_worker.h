// Worker is one thread's epoll loop and the connections that belong to it.
//
// In each round it looks at all events, reads and frames. It answers urgent requests at once and
// queues the others. Then it answers queued requests, but looks for events again after a short
// while. So an urgent request waits for one slow request at most, however many are queued.
//
// Thread safety: Run on one thread; the inbox is the way in for others.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/env.h"
#include "base/status.h"
#include "rest/http_connection.h"

namespace podmirror::rest {

class Worker {
 public:
  // `inbox` is one of state->inboxes. Everything must outlive Run.
  Worker(std::shared_ptr<ServerState> state, std::shared_ptr<Inbox> inbox, Handler& handler,
         Env& env, std::vector<Listener> listeners);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Before Run. kExhausted when the system has no descriptor left.
  Status Open();
  // Works until state->stopping, then until its connections are done or the time for it is over.
  void Run();

 private:
  using ConnectionRef = std::shared_ptr<Connection>;

  void HandleEvents();
  void Accept(const Listener& listener);
  void Admit(int fd, const Client& client);
  void LimitSurplus(const ConnectionRef& connection);
  void BeginStream(const ConnectionRef& connection);
  void AdvanceStreams();
  void Register(const ConnectionRef& connection);
  void TakeInbox();
  void RunQueue();
  void Enqueue(const ConnectionRef& connection);
  void Advance(const ConnectionRef& connection);
  void Settle(const ConnectionRef& connection, Turn turn);
  void Serve(const ConnectionRef& connection);
  void Close(const ConnectionRef& connection);
  void Sweep();
  void Listen(bool on);
  bool Stopped();
  int WaitMs() const;

  const std::shared_ptr<ServerState> state_;
  const std::shared_ptr<Inbox> inbox_;
  Handler& handler_;
  Env& env_;
  const std::vector<Listener> listeners_;
  int epoll_fd_ = -1;
  bool listening_ = false;
  bool looks_again_ = false;  // the handler has more to look at
  SteadyMs now_ = 0;          // of this round
  SteadyMs next_sweep_ = 0;
  SteadyMs stop_at_ = 0;  // valid once stopping
  std::vector<char> scratch_;
  absl::flat_hash_map<const Connection*, ConnectionRef> connections_;
  absl::flat_hash_set<ConnectionRef> streams_;
  std::deque<ConnectionRef> queue_;  // with a complete request, or with input left to read
  std::deque<std::weak_ptr<Connection>> surplus_;  // oldest first
};

}  // namespace podmirror::rest
