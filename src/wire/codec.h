// The codec turns what daemons say to each other from its domain form (sync::Message) into frames
// of podmirror.v1.Peer and back. What it decodes keeps every bound that peer.proto tells, so the
// sync core need not check a message again.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <optional>

#include "base/status.h"
#include "podmirror/v1/peer.pb.h"
#include "sync/message.h"

namespace podmirror::wire {

// Bounds of texts in bytes; those of a message and of a listing are in sync/message.h.
inline constexpr std::size_t kMaxNameBytes = 1024;  // names and UIDs of pods
inline constexpr std::size_t kMaxClusterBytes = 4096;
inline constexpr std::size_t kMaxDetailBytes = 4096;

// Replaces what `frame` held. Texts over their bound are cut, or a peer would refuse the frame.
void Encode(const sync::Message& message, v1::Frame* frame);

// kInvalid, naming what is wrong, when a bound or rule is broken; no value (but ok) when the frame
// holds a message that this version does not know.
Result<std::optional<sync::Message>> Decode(const v1::Frame& frame);

}  // namespace podmirror::wire
