// What several messages of podmirror.v1.Peer are made of, for the codecs alone: texts, entries, and
// what the two sides of a handshake say of themselves.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cache/entry.h"
#include "podmirror/v1/peer.pb.h"
#include "sync/message.h"
#include "wire/codec.h"

namespace podmirror::wire {

// At most `limit` bytes, not cut inside a character: protobuf refuses text that is not UTF-8.
std::string Cut(const std::string& text, std::size_t limit);

// kInvalid, naming `what`, for a text of more than `limit` bytes.
Status CheckText(const std::string& text, std::size_t limit, std::string_view what);

// Entries back to back in their packed form.
std::string Pack(const std::vector<EntryRef>& entries);
// kInvalid, naming the first that is malformed.
Status Unpack(std::string_view packed, std::vector<EntryRef>* entries);

v1::Refusal ToWire(sync::RefusalReason reason);
sync::RefusalReason FromWire(v1::Refusal reason);

void PutIntroduction(const sync::Introduction& from, v1::Introduction* to);
// kInvalid for a text over its bound, incarnation 0, or limits below those of the protocol.
Status TakeIntroduction(const v1::Introduction& from, sync::Introduction* to);

}  // namespace podmirror::wire
