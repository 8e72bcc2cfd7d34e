#include "sync/handshake.h"

namespace podmirror::sync {
namespace {

Refusal Check(const Self& self, const Introduction& peer, Now now) {
  if (peer.cluster != self.options.cluster) {
    return {RefusalReason::kOtherCluster,
            "it is of cluster " + peer.cluster + ", we are of " + self.options.cluster};
  }
  if (peer.incarnation == self.incarnation) {
    return {RefusalReason::kSelf, "it is this very process"};
  }
  const std::uint32_t apart = peer.protocol > kProtocolVersion ? peer.protocol - kProtocolVersion
                                                               : kProtocolVersion - peer.protocol;
  if (apart > 1) {
    return {RefusalReason::kProtocol, "it speaks protocol version " +
                                          std::to_string(peer.protocol) + ", we speak " +
                                          std::to_string(kProtocolVersion)};
  }
  if (peer.purge_floor > peer.hlc) {
    return {RefusalReason::kProtocol, "it has forgotten what is still to come"};
  }
  if (!Hlc::Acceptable(peer.hlc, now.wall)) {
    return {RefusalReason::kClockSkew, "its clock is more than 24 h ahead of ours"};
  }
  return {};
}

}  // namespace

Introduction Introduce(const Self& self, Now now) {
  Introduction told;
  told.name = self.options.self.name;
  told.uid = self.options.self.uid;
  told.cluster = self.options.cluster;
  told.features = kFeatures;
  told.incarnation = self.incarnation;
  told.process_started_ms = self.options.process_started_ms;
  told.synced = self.synced;
  told.entries = self.cache.Stats().entries;
  told.hlc = self.hlc.Current(now.wall);
  told.purge_floor = self.cache.purge_floor();
  told.wall = now.wall;
  return told;
}

Heartbeat Beat(const Self& self, const Peers& peers, const Retention& retention, Now now) {
  Heartbeat beat;
  beat.hlc = self.hlc.Current(now.wall);
  beat.contact = retention.Contact(now);
  beat.bound = retention.Bound(now);
  beat.purge_floor = self.cache.purge_floor();
  beat.synced = self.synced;
  beat.draining = self.draining;
  beat.lost = !peers.known();
  beat.wall = now.wall;
  return beat;
}

Refusal CheckHello(const Self& self, const Hello& hello, Now now) {
  if (Refusal refusal = Check(self, hello.self, now); refusal.reason != RefusalReason::kNone) {
    return refusal;
  }
  const std::string& uid = self.options.self.uid;
  if (!hello.expected_uid.empty() && !uid.empty() && hello.expected_uid != uid) {
    return {RefusalReason::kOtherUid, "the pod here has UID " + uid};
  }
  return {};
}

Refusal CheckReply(const Self& self, const Peers& peers, const Link& link, const HelloReply& reply,
                   Now now) {
  if (reply.refusal != RefusalReason::kNone) {
    return {reply.refusal, "it refuses us, saying: " + reply.detail};
  }
  if (reply.legacy) return {};
  for (const Link* other : peers.by_age()) {
    if (other != &link && other->open() && other->Is(reply.self.incarnation)) {
      return {RefusalReason::kSelf, "another record leads to the same process"};
    }
  }
  if (Refusal refusal = Check(self, reply.self, now); refusal.reason != RefusalReason::kNone) {
    return refusal;
  }
  const std::string& expected = link.record().uid;
  if (!expected.empty() && !reply.self.uid.empty() && expected != reply.self.uid) {
    return {RefusalReason::kOtherUid,
            "the pod at " + link.record().ip + " has UID " + reply.self.uid};
  }
  return {};
}

}  // namespace podmirror::sync
