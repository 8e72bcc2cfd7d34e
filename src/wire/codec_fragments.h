// What the codec does with large entries: the messages that carry their fragments, and the listing
// of them in an OfferReply. For the codec alone. Thread safety: pure functions.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <vector>

#include "base/status.h"
#include "podmirror/v1/peer.pb.h"
#include "sync/message.h"

namespace podmirror::wire {

void Put(const sync::FragmentRequest& from, v1::Frame* frame);
void Put(const sync::Fragment& from, v1::Frame* frame);
void Put(const sync::FragmentReply& from, v1::Frame* frame);

Status Take(const v1::FragmentRequest& from, sync::FragmentRequest* to);
// kInvalid for a fragment that is too long, not within its entry, or of an entry that is too large.
Status Take(const v1::Fragment& from, sync::Fragment* to);
Status Take(const v1::FragmentReply& from, sync::FragmentReply* to);

void PutLarge(const std::vector<sync::EntryId>& from,
              google::protobuf::RepeatedPtrField<v1::EntryId>* to);
// kInvalid for too many, or when they are not in rising order.
Status TakeLarge(const google::protobuf::RepeatedPtrField<v1::EntryId>& from,
                 std::vector<sync::EntryId>* to);

}  // namespace podmirror::wire
