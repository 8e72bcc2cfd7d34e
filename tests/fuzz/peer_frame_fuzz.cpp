// Whatever bytes a peer sends: they are refused with a reason, skipped, or a message that keeps all
// bounds, loses nothing and can be said again unchanged. The same bytes are also taken as an answer
// of a peer that speaks hellorpc.Sync only.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cache/digest.h"
#include "fuzz/require.h"
#include "rpc/legacy_codec.h"
#include "wire/codec.h"

namespace podmirror::rpc {
namespace {

using fuzz::Require;

// --- podmirror.v1.Peer ---

void CheckEntries(const std::vector<EntryRef>& entries) {
  for (const EntryRef& entry : entries) {
    Require(IsValidKey(entry->key()), "every key is valid");
    Require(entry->value().size() <= kMaxValueBytes, "every value is within the limit");
    Require(entry->expires_at() >= 0, "nothing expires before time began");
    Require(!entry->tombstone() || (entry->value().empty() && entry->expires_at() == 0),
            "a tombstone has neither value nor expiry");
  }
}

template <typename T>
bool Rises(const std::vector<T>& numbers) {
  return std::adjacent_find(numbers.begin(), numbers.end(), std::greater_equal<>()) ==
         numbers.end();
}

void CheckRising(const std::vector<std::uint32_t>& numbers, std::uint32_t limit) {
  Require(Rises(numbers), "groups and buckets rise");
  Require(numbers.empty() || numbers.back() < limit, "groups and buckets exist");
}

void CheckIntroduction(const sync::Introduction& self) {
  Require(self.incarnation != 0, "who speaks has an incarnation");
  Require(self.name.size() <= wire::kMaxNameBytes && self.uid.size() <= wire::kMaxNameBytes &&
              self.cluster.size() <= wire::kMaxClusterBytes,
          "the texts of a handshake are bounded");
}

void Check(const sync::Hello& hello) {
  CheckIntroduction(hello.self);
  Require(hello.expected_uid.size() <= wire::kMaxNameBytes, "the expected UID is bounded");
}
void Check(const sync::HelloReply& reply) {
  CheckIntroduction(reply.self);
  Require(reply.refusal <= sync::RefusalReason::kSelf, "the reason of a refusal is known");
  Require(reply.detail.size() <= wire::kMaxDetailBytes, "the detail is bounded");
  Require(!reply.legacy, "a peer that says hello is not a legacy one");
}
void Check(const sync::Batch& batch) {
  CheckEntries(batch.entries);
  Require(batch.first_seq >= 1 && batch.last_seq >= batch.first_seq,
          "a batch begins before it ends");
  const std::uint64_t count = batch.last_seq - batch.first_seq + 1;
  Require(count >= batch.entries.size() && count - batch.entries.size() <= sync::kMaxListed,
          "a batch has an entry for each of its numbers but for some large ones");
}
void Check(const sync::SumsRequest& request) { CheckRising(request.groups, kGroups); }
void Check(const sync::Sums& sums) {
  CheckRising(sums.groups, kGroups);
  Require(
      sums.sums.size() == (sums.groups.empty() ? kGroups : sums.groups.size() * kBucketsPerGroup),
      "there are as many sums as were asked for");
}
void Check(const sync::Offer& offer) {
  CheckRising(offer.buckets, kBuckets);
  Require(offer.listed.size() <= sync::kMaxListed, "a listing is bounded");
  Require(offer.first <= offer.last, "an offer begins before it ends");
}
void Check(const sync::OfferReply& reply) {
  CheckEntries(reply.entries);
  Require(reply.wants.size() <= sync::kMaxListed && Rises(reply.wants),
          "what a peer wants is bounded and rises");
  Require(reply.dead.size() <= sync::kMaxListed && Rises(reply.dead),
          "what a peer calls dead is bounded and rises");
  Require(reply.large.size() <= sync::kMaxListed && Rises(reply.large),
          "what a peer lists as large is bounded and rises");
}
void Check(const sync::Push& push) { CheckEntries(push.entries); }
void Check(const sync::Fetch& fetch) {
  Require(fetch.from.bucket <= kBuckets, "a copy goes on at a bucket");
}
void Check(const sync::FetchReply& reply) {
  CheckEntries(reply.entries);
  Require(reply.next.bucket <= kBuckets, "a copy goes on at a bucket");
}
void Check(const sync::Fragment& fragment) {
  Require(fragment.total <= sync::kMaxPackedBytes, "an entry has a size that may be");
  Require(fragment.bytes.size() <= sync::kFragmentBytes, "a fragment is bounded");
  Require(fragment.offset <= fragment.total &&
              fragment.bytes.size() <= fragment.total - fragment.offset,
          "a fragment lies within its entry");
}
// Numbers only: any are good.
void Check(const sync::Ack&) {}
void Check(const sync::Heartbeat&) {}
void Check(const sync::PushReply&) {}
void Check(const sync::FragmentRequest&) {}
void Check(const sync::FragmentReply&) {}

void NormalizeLimits(v1::Introduction* self) {
  self->mutable_limits()->set_max_frame_bytes(sync::kMaxMessageBytes);
  self->mutable_limits()->set_max_listed(sync::kMaxListed);
}

// Marks beyond the listing mean nothing, and what is not marked at the end is left out.
void NormalizeOffer(v1::Offer* offer) {
  if (offer->last() == UINT64_MAX) offer->clear_last();
  std::string* marks = offer->mutable_tombstones();
  const auto count = static_cast<std::size_t>(offer->key_hashes_size());
  if (count % 8 != 0 && marks->size() == count / 8 + 1) {
    marks->back() = static_cast<char>(marks->back() & ((1 << count % 8) - 1));
  }
  marks->resize(marks->find_last_not_of('\0') + 1);
}

// The entry of a fragment travels alone: a place says nothing.
void NormalizeAlone(v1::Fragment* fragment) {
  fragment->mutable_id();
  if (fragment->has_base()) fragment->mutable_base()->clear_place();
}
void NormalizeAlone(v1::FragmentReply* reply) {
  reply->mutable_id();
  if (reply->has_verdict()) reply->mutable_verdict()->clear_place();
}

// The frame as we would say it: without what we do not know, and with what may be left out.
v1::Frame Normalized(v1::Frame frame) {
  frame.DiscardUnknownFields();
  switch (frame.message_case()) {
    case v1::Frame::kHello:
      NormalizeLimits(frame.mutable_hello()->mutable_self());
      break;
    case v1::Frame::kHelloReply: {
      v1::HelloReply* reply = frame.mutable_hello_reply();
      NormalizeLimits(reply->mutable_self());
      if (!v1::Refusal_IsValid(reply->refusal())) reply->set_refusal(v1::REFUSAL_PROTOCOL);
      break;
    }
    case v1::Frame::kOffer:
      NormalizeOffer(frame.mutable_offer());
      break;
    case v1::Frame::kFragmentRequest:
      frame.mutable_fragment_request()->mutable_id();
      break;
    case v1::Frame::kFragment:
      NormalizeAlone(frame.mutable_fragment());
      break;
    case v1::Frame::kFragmentReply:
      NormalizeAlone(frame.mutable_fragment_reply());
      break;
    case v1::Frame::kFetch:
      frame.mutable_fetch()->mutable_from();
      break;
    case v1::Frame::kFetchReply:
      frame.mutable_fetch_reply()->mutable_next();
      break;
    default:
      break;
  }
  return frame;
}

void CheckFrame(const v1::Frame& frame) {
  const auto decoded = wire::Decode(frame);
  if (!decoded.ok()) {
    Require(!decoded.status().message().empty(), "a refusal says why");
    return;
  }
  if (!decoded->has_value()) {
    Require(frame.message_case() == v1::Frame::MESSAGE_NOT_SET, "what is known is not skipped");
    return;
  }
  std::visit([](const auto& message) { Check(message); }, **decoded);
  v1::Frame again;
  wire::Encode(**decoded, &again);
  Require(again.SerializeAsString() == Normalized(frame).SerializeAsString(),
          "a message said again is the same");
  const auto twice = wire::Decode(again);
  Require(twice.ok() && twice->has_value(), "what we say can be understood");
}

// --- hellorpc.Sync ---

using Values = std::map<std::pair<std::int32_t, std::string>, EntryRef>;

// The newest entry of each key.
Values Newest(const std::vector<EntryRef>& entries) {
  Values newest;
  for (const EntryRef& entry : entries) {
    EntryRef& known = newest[{entry->type(), std::string(entry->key())}];
    if (!known || known->version() < entry->version()) known = entry;
  }
  return newest;
}

void CheckLegacy(const hellorpc::SyncResponse& response) {
  const LegacyEntries taken = FromLegacy(response);
  CheckEntries(taken.entries);
  std::size_t said = 0;
  for (const hellorpc::SyncData& data : response.data()) said += data.data().size();
  Require(taken.entries.size() + taken.skipped == said, "everything is taken or counted");
  for (const EntryRef& entry : taken.entries) {
    Require(entry->version() == LegacyVersion(entry->value()), "the version follows the value");
  }

  const LegacyRequests requests = ToLegacy(taken.entries);
  Require(requests.skipped == 0, "what could be said can be said again");
  hellorpc::SyncResponse echoed;
  for (const hellorpc::SyncRequest& request : requests.requests) {
    Require(request.ByteSizeLong() <= sync::kLegacyRequestBytes || HoldsOne(request),
            "a request is bounded");
    echoed.mutable_data()->MergeFrom(request.data());
  }
  const Values before = Newest(taken.entries);
  const std::vector<EntryRef> after = FromLegacy(echoed).entries;
  Require(after.size() == before.size(), "each key is said once");
  for (const EntryRef& entry : after) {
    const auto known = before.find({entry->type(), std::string(entry->key())});
    Require(known != before.end() && known->second->Packed() == entry->Packed(),
            "the newest value is said");
  }
}

}  // namespace

void CheckBytes(const std::uint8_t* data, std::size_t size) {
  static auto* const old_handler = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(old_handler);
  v1::Frame frame;
  if (frame.ParseFromArray(data, static_cast<int>(size))) CheckFrame(frame);
  hellorpc::SyncResponse response;
  if (response.ParseFromArray(data, static_cast<int>(size))) CheckLegacy(response);
}

}  // namespace podmirror::rpc

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::rpc::CheckBytes(data, size);
  return 0;
}
