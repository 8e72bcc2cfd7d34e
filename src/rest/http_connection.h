// Connection is one client's socket, plain or with TLS, and its buffers. It belongs to one worker.
// Only between a request and its answer another thread may send on it: the thread that has the
// answer.
//
// Thread safety: as each section of the class says. The socket is closed when the last reference to
// the connection is gone, so a late answer can never go to a descriptor that was reused.
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

#include "base/byte_budget.h"
#include "rest/http_handoff.h"
#include "rest/http_server.h"
#include "rest/http_socket.h"

namespace podmirror::rest {

// What the server, its workers and its connections share. The last of them that goes destroys it.
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

// What a connection has for its worker after a turn.
enum class Turn : std::uint8_t {
  kIdle,     // nothing until the next event
  kRequest,  // a complete request
  kMore,     // input is left, but its turn is over
  kClosed,   // done with
};

class Connection final : public Responder, public std::enable_shared_from_this<Connection> {
 public:
  // Takes over `fd`. client: its port and address. A surplus connection is one beyond
  // max_connections. It is closed after one answer, which it gets after a second even if no request
  // came.
  Connection(int fd, Client client, bool surplus, std::shared_ptr<ServerState> state,
             std::shared_ptr<Inbox> inbox, SteadyMs now);
  ~Connection() override;

  // --- the worker's thread ---
  int fd() const { return socket_.fd(); }
  bool surplus() const { return surplus_; }
  Handoff& handoff() { return handoff_; }
  const std::shared_ptr<Inbox>& inbox() const { return inbox_; }
  // Raw target of the complete request. Requires: Advance said kRequest.
  std::string_view target() const { return reader_.target(in_); }
  bool streaming = false;  // set by the worker: it counts as a stream, no more as a connection
  bool queued = false;     // set by the worker: it is in the worker's queue
  bool closed = false;     // set by the worker: it is not the worker's any more

  void SetReadable(bool hang_up) {
    socket_.SetReadable(hang_up);
    if (hang_up) left_.store(true, std::memory_order_relaxed);
  }
  // Sends pending output, then reads until a request is complete, no input is left or the turn is
  // over. `scratch` is a buffer of the worker's. Requires: no answer is owed.
  Turn Advance(std::span<char> scratch, SteadyMs now, Handler& handler);
  // The complete request; an answer is owed from now on. Requires: Advance said kRequest.
  const Request& Begin();
  // The handler returned. False when the answer is still owed: leave the connection alone.
  bool End(SteadyMs now);
  // From this time on the worker calls Expire, then Advance. kNever from End until Advance.
  SteadyMs deadline() const { return deadline_; }
  void Expire(SteadyMs now, Handler& handler);
  // An entry may be replaced in the cache while it is being sent. Then only this connection holds
  // it, so its bytes are charged to the budget from now on; when the budget has no room, the
  // connection is broken. Requires: no answer is owed.
  void ChargeReplaced(const Handler& handler);
  // Gives back memory that an idle connection does not need. Requires: no answer is owed.
  void ReleaseBuffers() { socket_.ReleaseBuffers(); }
  // The connection is to be closed: the next Advance says so. Requires: no answer is owed.
  bool broken() const { return broken_; }
  // No part of a request was received, and no output is pending. Requires: no answer is owed.
  bool idle() const { return in_.empty() && !output_pending() && !close_; }
  // Its answer is a stream. Requires: no answer is owed.
  bool has_stream() const { return out_stream_ != nullptr; }
  // And more of it can be sent.
  bool streams() const { return has_stream() && !output_pending(); }

  // --- any thread ---
  void Answer(Response response) override;
  const Client& client() const override { return client_; }
  bool left() const override { return left_.load(std::memory_order_relaxed); }

  static constexpr SteadyMs kNever = INT64_MAX;

 private:
  bool output_pending() const { return out_sent_ < out_head_.size() + out_tail().size(); }
  std::string_view out_tail() const {
    if (out_part_) return *out_part_;
    return out_value_ ? out_value_->value() : std::string_view(out_body_);
  }
  void Queue(Response response, bool close);
  bool Flush();
  void ReleaseOutput();
  // Takes the next part of the stream, if there is one now.
  bool TakePart();
  // The client has gone away. What it sends beside a stream counts for nothing.
  bool LeftStream(std::span<char> scratch);
  std::int64_t OutputTaken() const;
  void AwaitProgress(SteadyMs now);
  Turn AwaitHandshake(Handler& handler);
  void Refuse(const Refusal& refusal, Handler& handler);
  bool Receive(std::span<char> scratch, SteadyMs now);
  bool Append(std::string_view bytes);
  void ReleaseInput();
  Turn Discard(std::span<char> scratch, SteadyMs now);

  const bool surplus_;
  const std::shared_ptr<ServerState> state_;
  const std::shared_ptr<Inbox> inbox_;
  Socket socket_;
  Client client_;  // constant once the socket is open
  Handoff handoff_;
  std::atomic<bool> left_{false};

  // Input: the worker's.
  RequestReader reader_;
  std::string in_;
  std::size_t in_charged_ = 0;  // bytes of in_ taken from the budget
  SteadyMs request_start_ = 0;  // when the first byte came; valid while in_ is not empty
  SteadyMs deadline_;
  bool eof_ = false;  // the client has sent its last byte, and we have read all up to it
  bool lingering_ = false;
  std::size_t discarded_ = 0;  // of what came where nothing is expected

  // Output: see invariant 2.
  std::string out_head_;
  std::string out_body_;
  EntryRef out_value_;
  std::shared_ptr<Stream> out_stream_;
  Stream::Bytes out_part_;  // of the stream
  std::size_t out_sent_ = 0;
  // What the client had taken when deadline_ was set; valid while output is pending. Below 0 while
  // bytes of earlier answers are on their way.
  std::int64_t out_taken_ = 0;
  std::size_t out_charged_ = 0;
  bool head_only_ = false;  // the request was HEAD
  bool says_keep_ = false;  // HTTP/1.0: an answer that keeps the connection must say so
  bool close_ = false;      // no request after this answer
  bool linger_ = false;     // unread input is likely: let the client see the answer first
  bool broken_ = false;     // the socket does not take any more
};

}  // namespace podmirror::rest
