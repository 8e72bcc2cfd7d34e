// The part of Node that deals with handshakes: who may talk to us, and whose copy is too old.
#include <tuple>

#include "sync/node.h"

namespace podmirror::sync {

Introduction Node::Introduce(Now now, std::uint64_t contact) const {
  Introduction self;
  self.name = options_.self.name;
  self.uid = options_.self.uid;
  self.cluster = options_.cluster;
  self.incarnation = incarnation_;
  self.process_started_ms = options_.process_started_ms;
  self.synced = synced_;
  self.entries = cache_.Stats().entries;
  self.hlc = hlc_.Current(now.wall);
  self.purge_floor = cache_.purge_floor();
  self.contact = contact;
  self.copy_age_ms = CopyAge(now);
  return self;
}

RefusalReason Node::Check(Now now, const Introduction& peer, std::string* detail) const {
  if (peer.cluster != options_.cluster) {
    *detail = "it is of cluster " + peer.cluster + ", we are of " + options_.cluster;
    return RefusalReason::kOtherCluster;
  }
  if (peer.incarnation == incarnation_) {
    *detail = "it is this very process";
    return RefusalReason::kSelf;
  }
  const std::uint32_t apart = peer.protocol > kProtocolVersion ? peer.protocol - kProtocolVersion
                                                               : kProtocolVersion - peer.protocol;
  if (apart > 1) {
    *detail = "it speaks protocol version " + std::to_string(peer.protocol) + ", we speak " +
              std::to_string(kProtocolVersion);
    return RefusalReason::kProtocol;
  }
  if (!Hlc::Acceptable(peer.hlc, now.wall)) {
    *detail = "its clock is more than 24 h ahead of ours";
    return RefusalReason::kClockSkew;
  }
  return RefusalReason::kNone;
}

std::uint64_t Node::ContactOf(const Introduction& peer) const {
  for (const Link* link : by_age_) {
    if ((!peer.uid.empty() && link->record().uid == peer.uid) ||
        link->incarnation() == peer.incarnation) {
      return link->contact();
    }
  }
  const auto found = contacts_.find(peer.uid);
  return found == contacts_.end() ? 0 : found->second;
}

// A node is stale when the other has forgotten tombstones that it may never have seen: the contact
// that the other knows of (its own tells nothing of what came late there) lies below the other's
// floor, and it holds things from before the other's last tombstone-ttl. Its own floor stood still
// at its contact, so only the one that was cut off is stale, whatever their ages. If both are
// (after 24 h without contact nobody holds the floor any more), it is the one without a complete
// copy, else the younger one.
Node::Staleness Node::CheckStale(Now now, const Introduction& peer,
                                 std::uint64_t our_contact) const {
  const std::uint64_t peers_at_us = our_contact != 0 ? our_contact : peer.contact;
  const std::uint64_t ours_at_peer = peer.contact != 0 ? peer.contact : our_contact;
  const auto old = [&](std::int64_t age) { return age >= options_.tombstone_ttl_ms; };
  // The floor of a joiner is its donor's: its own contacts are still to come.
  const bool peer_is_stale = synced_ && old(peer.copy_age_ms) && peers_at_us < cache_.purge_floor();
  const bool we_are_stale = peer.synced && old(CopyAge(now)) && ours_at_peer < peer.purge_floor;
  if (!peer_is_stale && !we_are_stale) return Staleness::kNone;
  const bool copying = !synced_;
  const bool peer_copying = !peer.synced;
  const bool peer_yields =
      std::tie(peer_copying, peer.process_started_ms, peer.uid, peer.incarnation) >
      std::tie(copying, options_.process_started_ms, options_.self.uid, incarnation_);
  if (peer_is_stale && we_are_stale) return peer_yields ? Staleness::kPeer : Staleness::kUs;
  return peer_is_stale ? Staleness::kPeer : Staleness::kUs;
}

void Node::OnHello(Now now, ConnId conn, Session& session, const Hello& hello) {
  HelloReply reply;
  reply.refusal = Check(now, hello.self, &reply.detail);
  if (reply.refusal == RefusalReason::kNone && !hello.expected_uid.empty() &&
      !options_.self.uid.empty() && hello.expected_uid != options_.self.uid) {
    reply.refusal = RefusalReason::kOtherUid;
    reply.detail = "the pod here has UID " + options_.self.uid;
  }
  const std::uint64_t contact = ContactOf(hello.self);
  if (reply.refusal == RefusalReason::kNone) {
    const Staleness staleness = CheckStale(now, hello.self, contact);
    if (staleness == Staleness::kUs) {
      Rejoin(now, "out of contact with " + hello.self.name + " for longer than tombstone-ttl");
      return;
    }
    if (staleness == Staleness::kPeer) {
      reply.refusal = RefusalReason::kStale;
      reply.detail = "out of contact for longer than tombstone-ttl";
    }
  }
  reply.self = Introduce(now, contact);
  if (reply.refusal == RefusalReason::kNone) {
    hlc_.Observe(hello.self.hlc);
    session.accepted = true;
    session.peer = hello.self;
    session.peer_floor = hello.self.purge_floor;
    Link* link = LinkTo(hello.self);
    if (link == nullptr) {
      ready_.unknown_peer = set_.has_value();
    } else {
      if (link->open() && link->incarnation() != hello.self.incarnation) {
        ready_.closes.push_back(link->conn());
        DropLink(now, *link, Code::kUnavailable, "it has been started anew");
      }
      reply.link_open = link->open();
      link->RetryNow();
      StepLink(now, *link);
    }
  }
  session.hello_reply = std::move(reply);
  ready_.wakes.push_back(conn);
}

void Node::OnHelloReply(Now now, Link& link, const HelloReply& reply) {
  // Only a peer that is one may tell us to drop our copy.
  const bool told_stale = reply.refusal == RefusalReason::kStale;
  RefusalReason reason = told_stale ? RefusalReason::kNone : reply.refusal;
  std::string detail = "it refuses us, saying: " + reply.detail;
  if (reason == RefusalReason::kNone && !reply.legacy) {
    reason = Check(now, reply.self, &detail);
    const std::string& expected = link.record().uid;
    if (reason == RefusalReason::kNone && !expected.empty() && !reply.self.uid.empty() &&
        expected != reply.self.uid) {
      reason = RefusalReason::kOtherUid;
      detail = "the pod at " + link.record().ip + " has UID " + reply.self.uid;
    }
    for (const Link* other : by_age_) {
      if (other != &link && other->open() && other->incarnation() == reply.self.incarnation) {
        reason = RefusalReason::kSelf;
        detail = "another record leads to the same process";
      }
    }
  }
  if (reason != RefusalReason::kNone) {
    RefuseLink(now, link, reason, std::move(detail));
    return;
  }
  if (told_stale || CheckStale(now, reply.self, link.contact()) == Staleness::kUs) {
    Rejoin(now, "out of contact with " + link.record().name + " for longer than tombstone-ttl");
    return;
  }
  hlc_.Observe(reply.self.hlc);
  link.Accept(reply, backlog_, now.steady);
  Emit(EventKind::kPeerConnected, link.record().name, reply.legacy ? "hellorpc" : "podmirror.v1");
  StepLink(now, link);
  StepJoin(now);
}

}  // namespace podmirror::sync
