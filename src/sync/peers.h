// Peers is the table of those we know: who is listed, our link to each, and which of them an event
// has touched, so that the node steps them once when the event is over.
// Thread safety: none; belongs to the Node.
// Invariant: every stream that we dialled and not lost belongs to one link.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/peer.h"
#include "sync/link.h"
#include "sync/self.h"

namespace podmirror::sync {

class Peers {
 public:
  explicit Peers(Self& self) : self_(self) {}

  // --- what discovery says ---
  // Takes note of an answer. False: it does not list ourselves, and nothing else of it counts.
  bool Learn(const PeerSet& set);
  void Failed(const std::string& error) { error_ = error; }
  // There has been an answer that lists ourselves.
  bool known() const { return set_.has_value(); }
  // The last answer lists ourselves.
  bool listed() const { return listed_; }
  // Why the last answer is no good one; empty: it is.
  const std::string& error() const { return error_; }
  // When we were started, by our own record; 0 = it does not tell.
  WallMs self_started_at_ms() const { return set_ ? set_->self_started_at_ms : 0; }
  // Whom we want links to: the peers and, while we have no data yet, pods that terminate.
  std::vector<const PodRecord*> Wanted() const;
  std::vector<Link*> Unwanted();
  // The names of pods that are being deleted and still run.
  std::vector<std::string> Terminating() const;

  // --- our links ---
  const std::vector<Link*>& by_age() const { return by_age_; }  // oldest first, by their records
  Link& at(const std::string& id) { return links_.at(id); }
  const Link& at(const std::string& id) const { return links_.at(id); }
  // Null when there is none.
  Link* Find(const std::string& id);
  // Whose dialled stream this is; null when it is none.
  Link* OfStream(ConnId conn);
  // Our own link to a daemon that introduced itself, or null.
  Link* To(const Introduction& peer);
  const Link* To(const Introduction& peer) const { return const_cast<Peers*>(this)->To(peer); }
  void Add(const PodRecord& record, std::uint64_t bound, SteadyMs now);
  void Remove(Link& link);  // its stream has been closed
  void SortByAge();
  // Whether its process is older than ours.
  bool Elder(const Link& link) const;

  // Ids tell whether a stream is dialled or accepted: it is looked for in one place only.
  ConnId NextDialled() { return last_conn_ += 2; }
  ConnId NextAccepted() { return NextDialled() + 1; }
  static bool IsDialled(ConnId conn) { return conn % 2 == 0; }
  void Dial(Link& link, SteadyMs now);
  // The stream is gone, or could not be opened.
  void Lost(Link& link, Code code, const std::string& error, SteadyMs now);

  // --- what the present event touched ---
  void Touch(Link& link);
  void TouchAll() { touched_.assign(by_age_.begin(), by_age_.end()); }
  bool touched() const { return !touched_.empty(); }
  // Takes one; null when there is none left.
  Link* TakeTouched();

 private:
  Self& self_;
  std::map<std::string, Link> links_;  // by PodRecord::id
  std::vector<Link*> by_age_;          // the same
  std::map<ConnId, Link*> by_stream_;  // those that have one
  ConnId last_conn_ = 0;
  std::deque<Link*> touched_;
  std::optional<PeerSet> set_;  // the last good answer
  bool listed_ = false;
  std::string error_ = "no answer from discovery yet";
};

}  // namespace podmirror::sync
