#include "client/follow_call.h"

#include <absl/time/time.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <variant>

#include "net/grpc_channel.h"
#include "wire/codec.h"
#include "wire/follow_codec.h"

namespace podmirror::client {
namespace {

constexpr SteadyMs kLookMs = 100;
// A part comes with its large entries whole: the daemon gives each message ten seconds.
constexpr SteadyMs kPartSilenceMs = 12'000;
// The same question to the same daemon, each time with four times as long for the answer.
constexpr int kAttempts = 4;
constexpr SteadyMs kFirstAgainMs = 100;
// Where the daemon answers others now, as often as it takes; not all of them at the same time.
constexpr SteadyMs kNotNowMs = 500;

}  // namespace

// One request with one answer, both as parts of frames.
struct FollowCall::Question {
  v1::Frame request;
  int attempts = 0;
  SteadyMs send_at = 0;  // not before
  // Of the present attempt:
  std::unique_ptr<grpc::ClientContext> context;  // null: it is not sent yet
  v1::Frame answer;
  bool done = false;
  grpc::Status status;
};

FollowCall::FollowCall(follow::Follower* follower, absl::Mutex& follower_mu, Env& env,
                       const v1::ChangesRequest& what, std::chrono::milliseconds deadline,
                       std::function<void()> on_change)
    : mu_(follower_mu),
      follower_(follower),
      env_(env),
      what_(what),
      deadline_(deadline),
      on_change_(std::move(on_change)) {}

FollowCall::~FollowCall() = default;

Verdict FollowCall::Run(const Pool::Connection& connection, const Credentials::State& with) {
  const auto stub = v1::Follow::NewStub(connection.channel);
  {
    absl::MutexLock lock(&mu_);
    if (cancelled_) return {Outcome::kLost, {Code::kUnavailable, "the mirror ends"}};
    follower_->Opened(env_.now());
    heard_at_ = env_.now().steady;
  }
  with.AddTo(stream_);
  std::thread reading([&] { ReadChanges(*stub); });
  while (Step(*stub, with)) continue;
  stream_.TryCancel();
  reading.join();
  absl::MutexLock lock(&mu_);
  if (question_ && question_->context) {
    question_->context->TryCancel();
    while (!question_->done) changed_.Wait(&mu_);
  }
  follower_->Lost();
  if (failure_) return *failure_;
  if (finished_.ok()) return {Outcome::kLost, {Code::kUnavailable, "it has ended the stream"}};
  return Judge(finished_, cancelled_);
}

void FollowCall::Cancel() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
  stream_.TryCancel();
  changed_.SignalAll();
}

void FollowCall::Fail(const Verdict& verdict) {
  absl::MutexLock lock(&mu_);
  if (!failure_) failure_ = verdict;
  changed_.SignalAll();
}

void FollowCall::ReadChanges(v1::Follow::Stub& stub) {
  const auto reader = stub.Changes(&stream_, what_);
  v1::ChangesResponse response;
  Status failure;
  while (failure.ok() && reader->Read(&response)) {
    auto changes = wire::Decode(response);
    failure = changes.status();
    if (failure.ok()) {
      absl::MutexLock lock(&mu_);
      heard_at_ = env_.now().steady;
      failure = follower_->OnChanges(*changes, env_.now());
      changed_.SignalAll();
    }
    on_change_();
  }
  if (!failure.ok()) {
    Fail({Outcome::kLost, failure});
    stream_.TryCancel();
  }
  const grpc::Status status = reader->Finish();
  absl::MutexLock lock(&mu_);
  finished_ = status;
  ended_ = true;
  changed_.SignalAll();
}

bool FollowCall::Step(v1::Follow::Stub& stub, const Credentials::State& with) {
  std::optional<sync::Message> next;
  bool done = false;
  {
    absl::MutexLock lock(&mu_);
    const Now now = env_.now();
    if (Over()) return false;
    const bool part = !what_.types().empty() || !what_.prefix().empty();
    if (now.steady - heard_at_ > (part ? kPartSilenceMs : sync::kSilenceMs)) {
      failure_ = {Outcome::kLost, {Code::kDeadline, "silent"}};
      return false;
    }
    if (!question_) next = follower_->Next(now);
    done = question_ && question_->done;
    const bool send = question_ && !question_->context && now.steady >= question_->send_at;
    if (!next && !done && !send) {
      changed_.WaitWithTimeout(&mu_, absl::Milliseconds(kLookMs));
      return true;
    }
  }
  if (next) question_ = Ask(*next);
  if (!done) {
    Send(*question_, stub, with);
    return true;
  }
  const std::unique_ptr<Question> answered = std::move(question_);
  const Verdict verdict = Judge(answered->status);
  const bool not_now = verdict.outcome == Outcome::kNotNow;
  if (not_now || (verdict.outcome == Outcome::kLate && answered->attempts < kAttempts)) {
    question_ = std::make_unique<Question>();
    question_->request = std::move(answered->request);
    question_->attempts = answered->attempts - (not_now ? 1 : 0);
    const SteadyMs pause = not_now
                               ? kNotNowMs + static_cast<SteadyMs>(env_.Random() % (2 * kNotNowMs))
                               : kFirstAgainMs << (2 * answered->attempts);
    question_->send_at = env_.now().steady + pause;
    return true;
  }
  if (!answered->status.ok()) {
    Fail(verdict);
    return false;
  }
  if (Status status = Take(*answered, stub, with); !status.ok()) {
    Fail({Outcome::kLost, status});
    return false;
  }
  on_change_();
  return true;
}

std::unique_ptr<FollowCall::Question> FollowCall::Ask(const sync::Message& message) {
  auto question = std::make_unique<Question>();
  wire::Encode(message, &question->request);
  return question;
}

void FollowCall::Send(Question& question, v1::Follow::Stub& stub, const Credentials::State& with) {
  question.context = std::make_unique<grpc::ClientContext>();
  grpc::ClientContext* const context = question.context.get();
  with.AddTo(*context);
  net::SetTimeout(*context, deadline_.count() << (2 * question.attempts++));
  const auto done = [this, asked = &question](const grpc::Status& status) {
    absl::MutexLock lock(&mu_);
    asked->status = status;
    asked->done = true;
    changed_.SignalAll();
  };
  v1::Frame& answer = question.answer;
  if (question.request.has_fetch()) {
    stub.async()->Copy(context, &question.request.fetch(), answer.mutable_fetch_reply(), done);
  } else if (question.request.has_offer()) {
    stub.async()->CompareEntries(context, &question.request.offer(), answer.mutable_offer_reply(),
                                 done);
  } else {
    stub.async()->CompareSums(context, &question.request.sums_request(), answer.mutable_sums(),
                              done);
  }
}

Status FollowCall::Take(Question& question, v1::Follow::Stub& stub,
                        const Credentials::State& with) {
  auto answer = wire::Decode(question.answer);
  if (!answer.ok()) return answer.status();
  std::optional<sync::Message> next;
  {
    absl::MutexLock lock(&mu_);
    if (Status status = follower_->OnReply(**std::move(answer), env_.now()); !status.ok()) {
      return status;
    }
    next = follower_->Next(env_.now());
  }
  if (next) {
    question_ = Ask(*next);
    Send(*question_, stub, with);
  }
  absl::MutexLock lock(&mu_);
  follower_->Merge();
  return {};
}

}  // namespace podmirror::client
