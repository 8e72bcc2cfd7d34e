#include "client/watch_call.h"

#include <grpcpp/client_context.h>

#include <optional>
#include <string>
#include <utility>

#include "client/message_stream.h"
#include "client/rounds.h"
#include "client/wire.h"

namespace podmirror::client {
namespace {

// A daemon tells something every ten seconds, if only that nothing has happened.
constexpr std::chrono::milliseconds kSilence{15'000};

bool MayWatchElsewhere(Code code) { return code != Code::kRefused && code != Code::kInvalid; }

}  // namespace

Status WatchCall::Run() {
  Rounds rounds(fleet_.pool(), fleet_.env());
  heard_at_ = fleet_.env().now().steady;
  Status last;
  for (;;) {
    auto choice = rounds.Next();
    if (!choice.ok()) {
      if (!rounds.tried()) last = choice.status();
      const bool late = give_up_ms_ != 0 && fleet_.env().now().steady - heard_at_ >= give_up_ms_;
      if (late) return {Code::kUnavailable, last.message()};
      if (!calls_.Pause(std::chrono::milliseconds(rounds.EndRound()))) break;
      continue;
    }
    const SteadyMs began = fleet_.env().now().steady;
    const Verdict verdict =
        fleet_.At(*choice, [this](const auto& at, const auto& with) { return Read(at, with); });
    if (enough_) return {};
    if (calls_.stopping()) break;
    fleet_.pool().Report(*choice, verdict);
    last = {verdict.status.code(), Pool::NameOf(*choice) + ": " + verdict.status.message()};
    if (!MayWatchElsewhere(last.code())) return last;
    rounds.Ended(*choice, heard_at_ >= began + kOfUseMs);
  }
  return {Code::kUnavailable, "the client ends"};
}

Verdict WatchCall::Read(const Pool::Choice& choice, const Credentials::State& with) {
  grpc::ClientContext context;
  with.AddTo(context);
  const Calls::Attempt tracked(calls_, context);
  MessageStream<v1::WatchResponse> stream(context, [&](auto* reactor) {
    choice.connection->stub->async()->Watch(&context, &request_, reactor);
  });
  while (v1::WatchResponse* message = stream.Next(kSilence)) {
    heard_at_ = fleet_.env().now().steady;
    for (v1::WatchEvent& told : *message->mutable_events()) {
      std::optional<WatchEvent> event = FromWire(told);
      if (!event) continue;
      request_.set_since(event->id);
      enough_ = !each_(*std::move(event));
      if (enough_ || calls_.stopping()) return {};
    }
  }
  const grpc::Status status = stream.Finish();
  if (status.ok()) return {Outcome::kLost, {Code::kUnavailable, "it has ended the watch"}};
  return Judge(status);
}

}  // namespace podmirror::client
