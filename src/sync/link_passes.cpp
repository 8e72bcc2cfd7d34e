#include "sync/link_passes.h"

#include <algorithm>

namespace podmirror::sync {

void LinkPasses::Begin(std::uint64_t id, std::uint64_t hlc, std::uint64_t begun_seq,
                       const PeerState& peer, SteadyMs now) {
  pass_.emplace(PassStart{id, hlc, begun_seq, peer.purge_floor, peer.contact, peer.fragments});
  mends_ = checks_ = true;
  wanted_ = false;
  progress_at_ = begun_at_ = now;
}

void LinkPasses::End(SteadyMs now, SteadyMs next_at) {
  const PassStart& start = pass_->start();
  contact_ = start.hlc;
  bound_ = std::max(bound_, std::min(start.hlc, start.peer_contact));
  contact_at_ = now;
  if (checks_) checked_at_ = begun_at_;
  pass_.reset();
  due_at_ = next_at;
}

}  // namespace podmirror::sync
