// The frames of podmirror.v1.Peer that concern writes on a condition: bases and verdicts.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/status.h"
#include "podmirror/v1/peer.pb.h"
#include "sync/message.h"

namespace podmirror::wire {

void PutBase(const sync::Base& from, v1::Base* to);
sync::Base TakeBase(const v1::Base& from);
// Requires: it is not unknown.
void PutVerdict(const sync::Verdict& from, v1::Verdict* to);
sync::Verdict TakeVerdict(const v1::Verdict& from);

using Bases = std::vector<std::pair<std::uint32_t, sync::Base>>;
using Verdicts = std::vector<std::pair<std::uint32_t, sync::Verdict>>;

void PutBases(const Bases& from, google::protobuf::RepeatedPtrField<v1::Base>* to);
// kInvalid where a place does not rise, or is none of a batch of `entries` entries.
Status TakeBases(const google::protobuf::RepeatedPtrField<v1::Base>& from, std::size_t entries,
                 Bases* to);
void PutVerdicts(const Verdicts& from, google::protobuf::RepeatedPtrField<v1::Verdict>* to);
// kInvalid where a place does not rise, or is beyond the largest batch.
Status TakeVerdicts(const google::protobuf::RepeatedPtrField<v1::Verdict>& from, Verdicts* to);

}  // namespace podmirror::wire
