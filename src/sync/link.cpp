#include "sync/link.h"

namespace podmirror::sync {

bool Link::Accept(const HelloReply& reply, const Backlog& backlog, SteadyMs now) {
  const bool met = Is(reply.self.incarnation);
  connection_.Accepted(reply.legacy, now);
  peer_.OnHelloReply(reply, now);
  passes_.StreamLost();
  passes_.Want();
  heartbeat_at_ = now;
  if (reply.legacy) {
    run_.ContinueLegacy(met, backlog);
    return false;
  }
  const bool restarted = run_.Continue(met, peer_.fragments, backlog);
  if (restarted) RunRestarted();
  return restarted;
}

void Link::RunRestarted() {
  passes_.RunRestarted();
  HeartbeatNow();  // it tells that the run has restarted
}

void Link::Lost(Code code, std::string error, SteadyMs now, std::uint64_t jitter) {
  connection_.Lost(code, std::move(error), now, jitter);
  peer_.link_open = false;
  run_.StreamLost();
  passes_.StreamLost();
  passes_.SpoilCheck();
}

void Link::OnHeartbeat(const Heartbeat& heartbeat, SteadyMs now) {
  peer_.OnHeartbeat(heartbeat);
  peer_.clock.Told(heartbeat.wall, now);
  if (peer_.link_open && !heartbeat.link_open) passes_.SpoilCheck();
  peer_.link_open = heartbeat.link_open;
}

bool Link::RestartIfDue(const Backlog& backlog) {
  if (!open() || !run_.RestartDue(backlog)) return false;
  if (legacy()) {
    run_.ContinueLegacy(true, backlog);
  } else {
    run_.Restart(backlog);
    RunRestarted();
  }
  return true;
}

void Link::BeginPass(std::uint64_t id, std::uint64_t hlc, const Backlog& backlog, SteadyMs now) {
  passes_.Begin(id, hlc, backlog.last(), peer_, now);
  HeartbeatNow();  // the peer is to see `hlc` before the pass is done: see retention.h
}

void Link::EndPass(SteadyMs now, SteadyMs next_at) {
  run_.Covered(passes_.pass()->start().seq, passes_.mends());
  passes_.End(now, next_at);
}

bool Link::FragmentDue(SteadyMs now) const {
  if (!open() || !run_.large().Due(now)) return false;
  const LargeExchange* of_pass = passes_.pass() ? passes_.pass()->large() : nullptr;
  return of_pass == nullptr || !of_pass->pushing();
}

}  // namespace podmirror::sync
