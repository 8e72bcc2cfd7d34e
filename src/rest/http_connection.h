// Connection is one client's socket with its buffers. It belongs to one worker, but for the time
// between a request and its answer, when whoever answers may send from another thread.
//
// Thread safety: as each part says. The socket closes with the last reference, so a late answer can
// never meet a reused descriptor.
// Invariants: (1) bytes are read only while no output is pending and no answer is owed.
//             (2) only the worker touches input; output is touched by the answering thread from
//                 Begin to the answer's end, else by the worker. Handoff passes it on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/byte_budget.h"
#include "rest/http_server.h"

namespace podmirror::rest {

class Connection;

// Where other threads leave connections for a worker. Thread safety: all calls from any thread.
class Inbox {
 public:
  Inbox();  // fd() is -1 when the system has no descriptor left
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Hands `connection` to the worker and wakes it; after Close it is dropped.
  void Post(std::shared_ptr<Connection> connection);
  void Wake();
  std::vector<std::shared_ptr<Connection>> Take();
  void Close();
  int fd() const { return fd_; }  // readable when there is something to look at

  std::atomic<int> connections{0};  // of this worker, for balance

 private:
  const int fd_;
  absl::Mutex mu_;
  std::vector<std::shared_ptr<Connection>> posted_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

// What the server, its workers and its connections share; kept alive by whoever needs it last.
struct ServerState {
  ServerState(const HttpOptions& http_options, std::size_t budget_bytes, const Env& environment)
      : options(http_options), env(environment), budget(budget_bytes) {}

  const HttpOptions options;
  const Env& env;
  ByteBudget budget;                            // of all connections together
  std::vector<std::shared_ptr<Inbox>> inboxes;  // constant once the workers run
  std::atomic<int> open{0};                     // connections accepted and not closed
  std::atomic<std::int64_t> stop_grace_ms{0};   // for requests in flight; valid once stopping
  std::atomic<bool> leaving{false};             // no connection is kept after its next answer
  std::atomic<bool> stopping{false};
};

// Who owns a connection's output. Thread safety: all calls from any thread.
class Handoff {
 public:
  // Worker: a request goes to its handler.
  void Begin();
  // Worker: the handler returned. True when the answer has been given: the worker goes on. Else the
  // connection is now left alone; `attention` = there is more to do as soon as it is answered.
  bool End(bool attention);
  // Worker: something happened on the socket. True when it must be left alone: it is noted.
  bool Defer();
  // Worker: an answer is owed.
  bool waiting();
  // Answering thread: the answer was sent, as far as it would go. True when the worker must be
  // told.
  bool Answered(bool attention);

 private:
  enum class Phase : std::uint8_t { kWorker, kHandling, kAnswered, kWaiting };
  absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kWorker;
  bool attention_ ABSL_GUARDED_BY(mu_) = false;
};

// What a connection has for its worker after a turn.
enum class Turn : std::uint8_t {
  kIdle,     // nothing until the next event
  kRequest,  // a complete request
  kMore,     // input is left, but its turn is over
  kClosed,   // done with
};

class Connection final : public Responder, public std::enable_shared_from_this<Connection> {
 public:
  // Takes over `fd`. A surplus connection gets one answer, and soon.
  Connection(int fd, bool surplus, std::shared_ptr<ServerState> state, std::shared_ptr<Inbox> inbox,
             SteadyMs now);
  ~Connection() override;

  // --- the worker's thread ---
  int fd() const { return fd_; }
  bool surplus() const { return surplus_; }
  Handoff& handoff() { return handoff_; }
  const std::shared_ptr<Inbox>& inbox() const { return inbox_; }
  // Raw target of the complete request. Requires: Advance said kRequest.
  std::string_view target() const { return reader_.target(in_); }
  bool queued = false;  // the worker's marks: has a place in its queue,
  bool closed = false;  // is not its any more

  void SetReadable(bool hang_up);
  // Sends what is pending, then reads until there is a request, nothing more, or the turn is over.
  // `scratch` is a buffer of the worker's. Requires: not handed off.
  Turn Advance(std::span<char> scratch, SteadyMs now, Handler& handler);
  // The complete request; an answer is owed from now on. Requires: Advance said kRequest.
  const Request& Begin();
  // The handler returned. False when the answer is still owed: leave the connection alone.
  bool End(SteadyMs now);
  // When something must have happened; then Expire, then Advance. kNever from End until Advance.
  SteadyMs deadline() const { return deadline_; }
  void Expire(Handler& handler);
  // An entry on its way out that is no longer stored is held for this connection only: it counts
  // from now on, and where there is no room for it the connection is broken. Requires: not handed
  // off.
  void ChargeReplaced(const Handler& handler);
  // To be closed: the next Advance says so. Requires: not handed off.
  bool broken() const { return broken_; }
  // Nothing received, nothing owed. Requires: not handed off.
  bool idle() const { return in_.empty() && !output_pending() && !close_; }

  // --- any thread ---
  void Answer(Response response) override;

  static constexpr SteadyMs kNever = INT64_MAX;

 private:
  bool output_pending() const { return out_sent_ < out_head_.size() + out_tail().size(); }
  std::string_view out_tail() const {
    return out_value_ ? out_value_->value() : std::string_view(out_body_);
  }
  void Queue(Response response, bool close);
  bool Flush();
  void ReleaseOutput();
  void Refuse(const Refusal& refusal, Handler& handler);
  bool Receive(std::span<char> scratch, SteadyMs now);
  bool Append(std::string_view bytes);
  void ReleaseInput();
  Turn Discard(std::span<char> scratch, SteadyMs now);

  const int fd_;
  const bool surplus_;
  const std::shared_ptr<ServerState> state_;
  const std::shared_ptr<Inbox> inbox_;
  Handoff handoff_;

  // Input: the worker's.
  RequestReader reader_;
  std::string in_;
  std::size_t in_charged_ = 0;  // bytes of in_ taken from the budget
  SteadyMs request_start_ = 0;  // when the first byte came; valid while in_ is not empty
  SteadyMs deadline_;
  bool readable_ = false;  // recv may find something
  bool hang_up_ = false;   // the client has sent its last byte
  bool eof_ = false;       // and we have read it
  bool lingering_ = false;
  std::size_t discarded_ = 0;  // valid when lingering_

  // Output: see invariant 2.
  std::string out_head_;
  std::string out_body_;
  EntryRef out_value_;
  std::size_t out_sent_ = 0;
  std::size_t out_charged_ = 0;
  bool head_only_ = false;  // the request was HEAD
  bool says_keep_ = false;  // the request was of HTTP/1.0, which keeps only what is said to be kept
  bool close_ = false;      // no request after this answer
  bool linger_ = false;     // unread input is likely: let the client see the answer first
  bool broken_ = false;     // the socket does not take any more
};

}  // namespace podmirror::rest
