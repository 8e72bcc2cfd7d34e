#include "wire/codec_fragments.h"

#include <string>

#include "wire/codec_conditions.h"

namespace podmirror::wire {
namespace {

static_assert(v1::FEATURE_FRAGMENTS == sync::kFragmentsFeature);

void PutId(const sync::EntryId& from, v1::EntryId* to) {
  to->set_key_hash(from.key_hash);
  to->set_hlc(from.version.hlc);
  to->set_origin(from.version.origin);
}

sync::EntryId TakeId(const v1::EntryId& from) {
  return {from.key_hash(), {from.hlc(), from.origin()}};
}

}  // namespace

void Put(const sync::FragmentRequest& from, v1::Frame* frame) {
  PutId(from.id, frame->mutable_fragment_request()->mutable_id());
  frame->mutable_fragment_request()->set_offset(from.offset);
}

Status Take(const v1::FragmentRequest& from, sync::FragmentRequest* to) {
  *to = {TakeId(from.id()), from.offset()};
  return {};
}

void Put(const sync::Fragment& from, v1::Frame* frame) {
  v1::Fragment* to = frame->mutable_fragment();
  PutId(from.id, to->mutable_id());
  to->set_total(from.total);
  to->set_offset(from.offset);
  to->set_bytes(from.bytes);
  to->set_write(from.write);
  if (from.base) PutBase(*from.base, to->mutable_base());
}

Status Take(const v1::Fragment& from, sync::Fragment* to) {
  if (from.total() > sync::kMaxPackedBytes || from.bytes().size() > sync::kFragmentBytes ||
      from.offset() > from.total() || from.bytes().size() > from.total() - from.offset()) {
    return Invalid("fragment of " + std::to_string(from.bytes().size()) + " bytes at " +
                   std::to_string(from.offset()) + " of " + std::to_string(from.total()));
  }
  *to = {TakeId(from.id()), from.total(), from.offset(), from.bytes(), from.write(), {}};
  if (from.has_base()) to->base = TakeBase(from.base());
  return {};
}

void Put(const sync::FragmentReply& from, v1::Frame* frame) {
  v1::FragmentReply* to = frame->mutable_fragment_reply();
  PutId(from.id, to->mutable_id());
  to->set_next(from.next);
  to->set_later(from.later);
  to->set_dead(from.dead);
  if (from.verdict.kind != sync::Verdict::kUnknown) {
    PutVerdict(from.verdict, to->mutable_verdict());
  }
}

Status Take(const v1::FragmentReply& from, sync::FragmentReply* to) {
  *to = {TakeId(from.id()), from.next(), from.later(), from.dead(), {}};
  if (from.has_verdict()) to->verdict = TakeVerdict(from.verdict());
  return {};
}

void PutLarge(const std::vector<sync::EntryId>& from,
              google::protobuf::RepeatedPtrField<v1::EntryId>* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const sync::EntryId& id : from) PutId(id, to->Add());
}

Status TakeLarge(const google::protobuf::RepeatedPtrField<v1::EntryId>& from,
                 std::vector<sync::EntryId>* to) {
  if (static_cast<std::size_t>(from.size()) > sync::kMaxListed) {
    return Invalid(std::to_string(from.size()) + " keys large");
  }
  to->reserve(static_cast<std::size_t>(from.size()));
  for (const v1::EntryId& id : from) {
    const sync::EntryId next = TakeId(id);
    if (!to->empty() && next <= to->back()) return Invalid("keys large out of order");
    to->push_back(next);
  }
  return {};
}

}  // namespace podmirror::wire
