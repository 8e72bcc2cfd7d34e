#include "wire/codec.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cache/digest.h"
#include "cache/entry.h"
#include "wire/codec_conditions.h"
#include "wire/codec_fragments.h"
#include "wire/codec_parts.h"

namespace podmirror::wire {
namespace {

using wire::Put;  // NOLINT(misc-unused-using-decls): templates below name it
using wire::Take;

// --- numbers ---

template <typename Repeated, typename T>
void PutAll(const std::vector<T>& values, Repeated* field) {
  field->Add(values.begin(), values.end());
}

// Strictly rising order bounds the count, since no number can come twice.
template <typename T>
Status TakeRising(const google::protobuf::RepeatedField<T>& field, T largest, std::string_view what,
                  std::vector<T>* values) {
  for (int i = 0; i < field.size(); ++i) {
    if (field[i] > largest || (i > 0 && field[i] <= field[i - 1])) {
      return Invalid(std::string(what) + " out of range or order: " + std::to_string(field[i]));
    }
  }
  values->assign(field.begin(), field.end());
  return {};
}

Status CheckListed(int count, std::string_view what) {
  if (static_cast<std::size_t>(count) <= sync::kMaxListed) return {};
  return Invalid(std::to_string(count) + " " + std::string(what));
}

// --- one Put and one Take for each message ---

void Put(const sync::Hello& from, v1::Frame* frame) {
  v1::Hello* to = frame->mutable_hello();
  PutIntroduction(from.self, to->mutable_self());
  to->set_expected_uid(Cut(from.expected_uid, kMaxNameBytes));
}

Status Take(const v1::Hello& from, sync::Hello* to) {
  to->expected_uid = from.expected_uid();
  if (Status status = CheckText(from.expected_uid(), kMaxNameBytes, "uid"); !status.ok()) {
    return status;
  }
  return TakeIntroduction(from.self(), &to->self);
}

void Put(const sync::HelloReply& from, v1::Frame* frame) {
  v1::HelloReply* to = frame->mutable_hello_reply();
  to->set_refusal(ToWire(from.refusal));
  to->set_detail(Cut(from.detail, kMaxDetailBytes));
  PutIntroduction(from.self, to->mutable_self());
  to->set_link_open(from.link_open);
}

Status Take(const v1::HelloReply& from, sync::HelloReply* to) {
  to->refusal = FromWire(from.refusal());
  to->detail = from.detail();
  to->link_open = from.link_open();
  if (Status status = CheckText(from.detail(), kMaxDetailBytes, "detail"); !status.ok()) {
    return status;
  }
  return TakeIntroduction(from.self(), &to->self);
}

void Put(const sync::Batch& from, v1::Frame* frame) {
  v1::Batch* to = frame->mutable_batch();
  to->set_first_seq(from.first_seq);
  to->set_last_seq(from.last_seq);
  to->set_entries(Pack(from.entries));
  PutBases(from.bases, to->mutable_bases());
}

Status Take(const v1::Batch& from, sync::Batch* to) {
  to->first_seq = from.first_seq();
  to->last_seq = from.last_seq();
  if (Status status = Unpack(from.entries(), &to->entries); !status.ok()) return status;
  const std::uint64_t count = to->last_seq - to->first_seq + 1;
  if (to->first_seq == 0 || to->last_seq < to->first_seq || count < to->entries.size() ||
      count - to->entries.size() > sync::kMaxListed) {
    return Invalid("batch " + std::to_string(to->first_seq) + ".." + std::to_string(to->last_seq) +
                   " of " + std::to_string(to->entries.size()) + " entries");
  }
  return TakeBases(from.bases(), to->entries.size(), &to->bases);
}

void Put(const sync::Ack& from, v1::Frame* frame) {
  frame->mutable_ack()->set_seq(from.seq);
  PutAll(from.dead, frame->mutable_ack()->mutable_dead());
  PutVerdicts(from.verdicts, frame->mutable_ack()->mutable_verdicts());
}

Status Take(const v1::Ack& from, sync::Ack* to) {
  to->seq = from.seq();
  const Status status =
      TakeRising<std::uint32_t>(from.dead(), sync::kMaxListed, "place", &to->dead);
  return status.ok() ? TakeVerdicts(from.verdicts(), &to->verdicts) : status;
}

void Put(const sync::Heartbeat& from, v1::Frame* frame) {
  v1::Heartbeat* to = frame->mutable_heartbeat();
  to->set_hlc(from.hlc);
  to->set_contact(from.contact);
  to->set_bound(from.bound);
  to->set_purge_floor(from.purge_floor);
  to->set_synced(from.synced);
  to->set_link_open(from.link_open);
  to->set_draining(from.draining);
  to->set_lost(from.lost);
  to->set_wall_ms(from.wall);
  to->set_run_start(from.run_start);
}

Status Take(const v1::Heartbeat& from, sync::Heartbeat* to) {
  *to = {from.hlc(),       from.contact(),  from.bound(), from.purge_floor(), from.synced(),
         from.link_open(), from.draining(), from.lost(),  from.wall_ms(),     from.run_start()};
  if (from.wall_ms() < 0) return Invalid("a clock before 1970");
  return {};
}

void Put(const sync::SumsRequest& from, v1::Frame* frame) {
  v1::SumsRequest* to = frame->mutable_sums_request();
  to->set_pass(from.pass);
  PutAll(from.groups, to->mutable_groups());
}

Status Take(const v1::SumsRequest& from, sync::SumsRequest* to) {
  to->pass = from.pass();
  return TakeRising(from.groups(), kGroups - 1, "group", &to->groups);
}

void Put(const sync::Sums& from, v1::Frame* frame) {
  v1::Sums* to = frame->mutable_sums();
  to->set_pass(from.pass);
  PutAll(from.groups, to->mutable_groups());
  PutAll(from.sums, to->mutable_sums());
}

Status Take(const v1::Sums& from, sync::Sums* to) {
  to->pass = from.pass();
  Status status = TakeRising(from.groups(), kGroups - 1, "group", &to->groups);
  if (!status.ok()) return status;
  const std::size_t due = to->groups.empty() ? kGroups : to->groups.size() * kBucketsPerGroup;
  if (static_cast<std::size_t>(from.sums_size()) != due) {
    return Invalid(std::to_string(from.sums_size()) + " sums, not " + std::to_string(due));
  }
  to->sums.assign(from.sums().begin(), from.sums().end());
  return {};
}

void PutListed(const std::vector<sync::Listed>& listed, v1::Offer* to) {
  const int count = static_cast<int>(listed.size());
  to->mutable_key_hashes()->Reserve(count);
  to->mutable_hlcs()->Reserve(count);
  to->mutable_origins()->Reserve(count);
  std::string* tombstones = to->mutable_tombstones();
  for (std::size_t i = 0; i < listed.size(); ++i) {
    to->add_key_hashes(listed[i].key_hash);
    to->add_hlcs(listed[i].version.hlc);
    to->add_origins(listed[i].version.origin);
    if (!listed[i].tombstone) continue;
    tombstones->resize(i / 8 + 1);
    (*tombstones)[i / 8] = static_cast<char>((*tombstones)[i / 8] | 1 << i % 8);
  }
}

Status TakeListed(const v1::Offer& from, std::vector<sync::Listed>* listed) {
  const int count = from.key_hashes_size();
  if (Status status = CheckListed(count, "keys listed"); !status.ok()) return status;
  const std::string& tombstones = from.tombstones();
  if (from.hlcs_size() != count || from.origins_size() != count ||
      tombstones.size() > (static_cast<std::size_t>(count) + 7) / 8) {
    return Invalid("listings of different lengths");
  }
  listed->reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const std::size_t at = static_cast<std::size_t>(i) / 8;
    const bool tombstone = at < tombstones.size() && (tombstones[at] >> i % 8 & 1) != 0;
    listed->push_back({from.key_hashes(i), {from.hlcs(i), from.origins(i)}, tombstone});
  }
  return {};
}

void Put(const sync::Offer& from, v1::Frame* frame) {
  v1::Offer* to = frame->mutable_offer();
  to->set_pass(from.pass);
  PutAll(from.buckets, to->mutable_buckets());
  PutListed(from.listed, to);
  to->set_first(from.first);
  to->set_last(from.last == UINT64_MAX ? 0 : from.last);
}

Status Take(const v1::Offer& from, sync::Offer* to) {
  to->pass = from.pass();
  to->first = from.first();
  to->last = from.last() == 0 ? UINT64_MAX : from.last();
  if (to->first > to->last) return Invalid("an offer that ends before it begins");
  Status status = TakeRising(from.buckets(), kBuckets - 1, "bucket", &to->buckets);
  if (!status.ok()) return status;
  return TakeListed(from, &to->listed);
}

void Put(const sync::OfferReply& from, v1::Frame* frame) {
  v1::OfferReply* to = frame->mutable_offer_reply();
  to->set_pass(from.pass);
  to->set_entries(Pack(from.entries));
  PutAll(from.wants, to->mutable_wants());
  to->set_next(from.next);
  PutAll(from.dead, to->mutable_dead());
  to->set_floor(from.floor);
  PutLarge(from.large, to->mutable_large());
}

Status Take(const v1::OfferReply& from, sync::OfferReply* to) {
  to->pass = from.pass();
  to->next = from.next();
  to->floor = from.floor();
  if (Status status = CheckListed(from.wants_size(), "keys wanted"); !status.ok()) return status;
  if (Status status = CheckListed(from.dead_size(), "keys dead"); !status.ok()) return status;
  Status status = TakeRising<std::uint64_t>(from.wants(), UINT64_MAX, "want", &to->wants);
  if (status.ok()) status = TakeRising<std::uint64_t>(from.dead(), UINT64_MAX, "dead", &to->dead);
  if (status.ok()) status = TakeLarge(from.large(), &to->large);
  if (!status.ok()) return status;
  return Unpack(from.entries(), &to->entries);
}

void Put(const sync::Push& from, v1::Frame* frame) {
  frame->mutable_push()->set_pass(from.pass);
  frame->mutable_push()->set_entries(Pack(from.entries));
}

Status Take(const v1::Push& from, sync::Push* to) {
  to->pass = from.pass();
  return Unpack(from.entries(), &to->entries);
}

void Put(const sync::PushReply& from, v1::Frame* frame) {
  frame->mutable_push_reply()->set_pass(from.pass);
}

Status Take(const v1::PushReply& from, sync::PushReply* to) {
  to->pass = from.pass();
  return {};
}

void PutPosition(const sync::Position& from, v1::Position* to) {
  to->set_bucket(from.bucket);
  to->set_after_key_hash(from.after_key_hash);
}

Status TakePosition(const v1::Position& from, sync::Position* to) {
  *to = {from.bucket(), from.after_key_hash()};
  if (from.bucket() > kBuckets) return Invalid("position at bucket " + std::to_string(to->bucket));
  return {};
}

void Put(const sync::Fetch& from, v1::Frame* frame) {
  PutPosition(from.from, frame->mutable_fetch()->mutable_from());
}

Status Take(const v1::Fetch& from, sync::Fetch* to) { return TakePosition(from.from(), &to->from); }

void Put(const sync::FetchReply& from, v1::Frame* frame) {
  v1::FetchReply* to = frame->mutable_fetch_reply();
  to->set_busy(from.busy);
  to->set_entries(Pack(from.entries));
  PutPosition(from.next, to->mutable_next());
  to->set_done(from.done);
}

Status Take(const v1::FetchReply& from, sync::FetchReply* to) {
  to->busy = from.busy();
  to->done = from.done();
  if (Status status = TakePosition(from.next(), &to->next); !status.ok()) return status;
  return Unpack(from.entries(), &to->entries);
}

template <typename Domain, typename Wire>
Result<std::optional<sync::Message>> TakeAs(const Wire& from) {
  Domain to;
  if (Status status = Take(from, &to); !status.ok()) return status;
  return std::optional<sync::Message>(std::move(to));
}

}  // namespace

void Encode(const sync::Message& message, v1::Frame* frame) {
  frame->Clear();
  std::visit([frame](const auto& known) { Put(known, frame); }, message);
}

Result<std::optional<sync::Message>> Decode(const v1::Frame& frame) {
  if (frame.ByteSizeLong() > sync::kMaxMessageBytes) return Invalid("frame over 64 MiB");
  switch (frame.message_case()) {
    case v1::Frame::kHello:
      return TakeAs<sync::Hello>(frame.hello());
    case v1::Frame::kHelloReply:
      return TakeAs<sync::HelloReply>(frame.hello_reply());
    case v1::Frame::kBatch:
      return TakeAs<sync::Batch>(frame.batch());
    case v1::Frame::kAck:
      return TakeAs<sync::Ack>(frame.ack());
    case v1::Frame::kHeartbeat:
      return TakeAs<sync::Heartbeat>(frame.heartbeat());
    case v1::Frame::kSumsRequest:
      return TakeAs<sync::SumsRequest>(frame.sums_request());
    case v1::Frame::kSums:
      return TakeAs<sync::Sums>(frame.sums());
    case v1::Frame::kOffer:
      return TakeAs<sync::Offer>(frame.offer());
    case v1::Frame::kOfferReply:
      return TakeAs<sync::OfferReply>(frame.offer_reply());
    case v1::Frame::kPush:
      return TakeAs<sync::Push>(frame.push());
    case v1::Frame::kPushReply:
      return TakeAs<sync::PushReply>(frame.push_reply());
    case v1::Frame::kFetch:
      return TakeAs<sync::Fetch>(frame.fetch());
    case v1::Frame::kFetchReply:
      return TakeAs<sync::FetchReply>(frame.fetch_reply());
    case v1::Frame::kFragmentRequest:
      return TakeAs<sync::FragmentRequest>(frame.fragment_request());
    case v1::Frame::kFragment:
      return TakeAs<sync::Fragment>(frame.fragment());
    case v1::Frame::kFragmentReply:
      return TakeAs<sync::FragmentReply>(frame.fragment_reply());
    case v1::Frame::MESSAGE_NOT_SET:
      break;
  }
  return std::optional<sync::Message>();
}

}  // namespace podmirror::wire
