#include "wire/follow_codec.h"

#include "wire/codec_parts.h"

namespace podmirror::wire {

void Encode(const follow::Changes& changes, v1::ChangesResponse* to) {
  to->set_entries(Pack(changes.entries));
  for (const sync::EntryId& id : changes.large) {
    v1::EntryId* const large = to->add_large();
    large->set_key_hash(id.key_hash);
    large->set_hlc(id.version.hlc);
    large->set_origin(id.version.origin);
  }
  to->set_missed(changes.missed);
  to->set_synced(changes.synced);
  if (!changes.state) return;
  v1::State* const state = to->mutable_state();
  state->set_incarnation(changes.state->incarnation);
  if (changes.state->digest) state->set_digest(*changes.state->digest);
  state->set_purge_floor(changes.state->purge_floor);
  state->set_expired_by(changes.state->expired_by);
  state->set_wall_ms(changes.state->wall);
  state->set_steady_ms(changes.state->steady);
}

Result<follow::Changes> Decode(const v1::ChangesResponse& from) {
  follow::Changes changes;
  if (Status status = Unpack(from.entries(), &changes.entries); !status.ok()) return status;
  for (const v1::EntryId& id : from.large()) {
    changes.large.push_back({id.key_hash(), {id.hlc(), id.origin()}});
  }
  changes.missed = from.missed();
  changes.synced = from.synced();
  if (!from.has_state()) return changes;
  const v1::State& state = from.state();
  if (state.incarnation() == 0) return Invalid("incarnation 0");
  if (state.wall_ms() < 0 || state.steady_ms() < 0) return Invalid("a clock before its beginning");
  if (state.expired_by() < 0 || state.expired_by() > state.wall_ms()) {
    return Invalid("what expires later is gone");
  }
  changes.state = {.incarnation = state.incarnation(),
                   .digest = std::nullopt,
                   .purge_floor = state.purge_floor(),
                   .expired_by = state.expired_by(),
                   .wall = state.wall_ms(),
                   .steady = state.steady_ms()};
  if (state.has_digest()) changes.state->digest = state.digest();
  return changes;
}

}  // namespace podmirror::wire
