#include "rpc/unanswered.h"

#include <catch2/catch.hpp>

namespace podmirror::rpc {
namespace {

using namespace sync;

TEST_CASE("each request has an answer of its own") {
  Unanswered unanswered;
  CHECK_FALSE(unanswered.any());
  unanswered.Asked(Hello{});
  unanswered.Asked(SumsRequest{});
  unanswered.Answered(HelloReply{});
  CHECK(unanswered.any());
  unanswered.Answered(Sums{});
  CHECK_FALSE(unanswered.any());
}

TEST_CASE("one ack may answer several batches, and not those after them") {
  Unanswered unanswered;
  for (std::uint64_t seq = 1; seq <= 3; ++seq) unanswered.Asked(Batch{seq, seq, {}});
  unanswered.Answered(Ack{2});
  CHECK(unanswered.any());
  unanswered.Answered(Ack{3});
  CHECK_FALSE(unanswered.any());
}

TEST_CASE("each heartbeat has an answer until all have come") {
  Unanswered unanswered;
  unanswered.Asked(Heartbeat{});
  unanswered.Asked(Heartbeat{});
  unanswered.Answered(Heartbeat{});
  CHECK(unanswered.any());
  unanswered.Answered(Heartbeat{});
  CHECK_FALSE(unanswered.any());
}

}  // namespace
}  // namespace podmirror::rpc
