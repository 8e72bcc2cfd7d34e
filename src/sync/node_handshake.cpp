// The part of Node that deals with handshakes: who may talk to us.
#include "sync/node.h"

namespace podmirror::sync {

Introduction Node::Introduce(Now now) const {
  Introduction self;
  self.name = options_.self.name;
  self.uid = options_.self.uid;
  self.cluster = options_.cluster;
  self.features = kFeatures;
  self.incarnation = incarnation_;
  self.process_started_ms = options_.process_started_ms;
  self.synced = synced_;
  self.entries = cache_.Stats().entries;
  self.hlc = hlc_.Current(now.wall);
  self.purge_floor = cache_.purge_floor();
  self.wall = now.wall;
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
  if (peer.purge_floor > peer.hlc) {
    *detail = "it has forgotten what is still to come";
    return RefusalReason::kProtocol;
  }
  if (!Hlc::Acceptable(peer.hlc, now.wall)) {
    *detail = "its clock is more than 24 h ahead of ours";
    return RefusalReason::kClockSkew;
  }
  return RefusalReason::kNone;
}

void Node::OnHello(Now now, ConnId conn, Session& session, const Hello& hello) {
  HelloReply reply;
  reply.refusal = Check(now, hello.self, &reply.detail);
  if (reply.refusal == RefusalReason::kNone && !hello.expected_uid.empty() &&
      !options_.self.uid.empty() && hello.expected_uid != options_.self.uid) {
    reply.refusal = RefusalReason::kOtherUid;
    reply.detail = "the pod here has UID " + options_.self.uid;
  }
  reply.self = Introduce(now);
  if (reply.refusal == RefusalReason::kNone) {
    hlc_.Observe(hello.self.hlc);
    session.accepted = true;
    session.peer = hello.self;
    session.peer_floor = hello.self.purge_floor;
    TellClock(now, session, hello.self.wall);
    Link* link = LinkTo(hello.self);
    if (link == nullptr) {
      ready_.unknown_peer = set_.has_value();
    } else {
      link->SpoilCheck();  // until now its writes had no way to us
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
  RefusalReason reason = reply.refusal;
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
    RefuseLink(now, link, reason, detail);
    return;
  }
  hlc_.Observe(reply.self.hlc);
  link.Accept(reply, backlog_, now.steady);
  Agree(link.clock(), now);
  Emit(EventKind::kPeerConnected, link.record().name, reply.legacy ? "hellorpc" : "podmirror.v1");
  StepLink(now, link);
  StepJoin(now);
}

}  // namespace podmirror::sync
