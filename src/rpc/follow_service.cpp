#include "rpc/follow_service.h"

#include <utility>
#include <variant>

#include "rpc/requests.h"
#include "sync/answers.h"
#include "wire/codec.h"

namespace podmirror::rpc {
namespace {

// A follower has no floor of its own: it may have dropped what the daemon holds since long. And it
// takes large entries whole: each answer is a message of its own, that no heartbeat waits for.
constexpr sync::Asker kFollower{.floor = 0, .fragments = false};

// Of questions of followers that wait for the bulk thread.
constexpr std::size_t kMostWaiting = 256;

sync::Message AnswerOf(const Cache& cache, const sync::Message& request) {
  if (const auto* sums = std::get_if<sync::SumsRequest>(&request)) return AnswerSums(cache, *sums);
  if (const auto* offer = std::get_if<sync::Offer>(&request)) {
    return AnswerOffer(cache, *offer, kFollower);
  }
  return AnswerFetch(cache, std::get<sync::Fetch>(request), kFollower);
}

const google::protobuf::Message& MessageIn(const v1::Frame& frame) {
  switch (frame.message_case()) {
    case v1::Frame::kSums:
      return frame.sums();
    case v1::Frame::kOfferReply:
      return frame.offer_reply();
    default:
      return frame.fetch_reply();
  }
}

}  // namespace

Status PermitFollower(const trust::Access& access, const trust::Asker& asker) {
  return access.Permit(asker, {.verb = trust::Verb::kWatch, .below = true});
}

void FollowService::AddTo(Methods& methods) {
  const auto add = [&](const char* method, auto mutable_part) {
    methods.emplace(method, UnaryHandler(bulk_, [this, mutable_part](const auto& call) {
                      auto frame = std::make_shared<v1::Frame>();
                      google::protobuf::Message* const in = (frame.get()->*mutable_part)();
                      Answer(call, in, frame);
                    }));
  };
  add("/podmirror.v1.Follow/CompareSums", &v1::Frame::mutable_sums_request);
  add("/podmirror.v1.Follow/CompareEntries", &v1::Frame::mutable_offer);
  add("/podmirror.v1.Follow/Copy", &v1::Frame::mutable_fetch);
}

void FollowService::Answer(const std::shared_ptr<UnaryCall>& call, google::protobuf::Message* in,
                           const std::shared_ptr<v1::Frame>& frame) {
  Status status = FromBytes(call->request(), in);
  if (status.ok()) status = PermitFollower(access_, call->asker());
  if (status.ok()) status = CheckReadable(driver_);
  auto request = status.ok() ? wire::Decode(*frame) : status;
  if (!request.ok()) {
    call->Fail(request.status());
    return;
  }
  const auto* offer = std::get_if<sync::Offer>(&**request);
  if (offer != nullptr && offer->buckets.size() > sync::kBucketsPerOffer) {
    call->Fail(Invalid("more buckets than an offer compares"));
    return;
  }
  const bool taken = bulk_.TryPost(kMostWaiting, [this, call, asked = **std::move(request)] {
    v1::Frame answer;
    wire::Encode(AnswerOf(cache_, asked), &answer);
    call->AnswerRead(MessageIn(answer), answers_);
  });
  if (!taken) call->Fail({Code::kUnavailable, "overloaded"});
}

}  // namespace podmirror::rpc
