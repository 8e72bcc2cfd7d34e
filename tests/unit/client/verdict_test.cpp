#include "client/verdict.h"

#include <catch2/catch.hpp>

namespace podmirror::client {
namespace {

using S = grpc::StatusCode;

TEST_CASE("what each end of an attempt means for reads and writes") {
  struct Row {
    S code;
    std::string message;
    Outcome outcome;
    Code read;   // what a read is told at last
    Code write;  // what a write is told at last
    bool read_elsewhere;
    bool write_elsewhere;
  };
  const auto row = GENERATE(values<Row>({
      {S::OK, "", Outcome::kAnswered, Code::kOk, Code::kOk, false, false},
      {S::INVALID_ARGUMENT, "items[0]", Outcome::kAnswered, Code::kInvalid, Code::kInvalid, false,
       false},
      {S::RESOURCE_EXHAUSTED, "out-of-memory", Outcome::kAnswered, Code::kExhausted,
       Code::kExhausted, false, false},
      {S::RESOURCE_EXHAUSTED, "Received message larger than max", Outcome::kAnswered,
       Code::kExhausted, Code::kUncertain, false, false},
      {S::UNIMPLEMENTED, "", Outcome::kElsewhere, Code::kUnimplemented, Code::kUnimplemented, true,
       true},
      {S::INVALID_ARGUMENT, "options: unknown ack 5", Outcome::kElsewhere, Code::kUnimplemented,
       Code::kUnimplemented, true, true},
      {S::UNAVAILABLE, "too-many-deletes", Outcome::kElsewhere, Code::kUnavailable,
       Code::kUnavailable, true, true},
      {S::FAILED_PRECONDITION, "precondition-failed: none", Outcome::kAnswered, Code::kPrecondition,
       Code::kPrecondition, false, false},
      {S::FAILED_PRECONDITION, "x", Outcome::kAnswered, Code::kRefused, Code::kRefused, false,
       false},
      {S::ABORTED, "conflict: 01", Outcome::kAnswered, Code::kConflict, Code::kConflict, false,
       false},
      {S::ABORTED, "x", Outcome::kLost, Code::kUnavailable, Code::kUncertain, true, false},
      {S::UNAUTHENTICATED, "x", Outcome::kStranger, Code::kRefused, Code::kRefused, false, false},
      {S::PERMISSION_DENIED, "x", Outcome::kAnswered, Code::kRefused, Code::kRefused, false, false},
      {S::UNAVAILABLE, "not-ready", Outcome::kNotNow, Code::kUnavailable, Code::kUnavailable, true,
       true},
      {S::RESOURCE_EXHAUSTED, "overloaded", Outcome::kNotNow, Code::kUnavailable,
       Code::kUnavailable, true, true},
      {S::UNAVAILABLE, "draining", Outcome::kDraining, Code::kUnavailable, Code::kUnavailable, true,
       true},
      {S::UNAVAILABLE, "failed to connect to all addresses; last error: x", Outcome::kNotSent,
       Code::kUnavailable, Code::kUnavailable, true, true},
      {S::UNAVAILABLE, "Socket closed", Outcome::kLost, Code::kUnavailable, Code::kUncertain, true,
       false},
      {S::UNAVAILABLE, "draining?", Outcome::kLost, Code::kUnavailable, Code::kUncertain, true,
       false},
      {S::CANCELLED, "CANCELLED", Outcome::kNotSent, Code::kUnavailable, Code::kUnavailable, true,
       true},
      {S::CANCELLED, "cancelled", Outcome::kLost, Code::kUnavailable, Code::kUncertain, true,
       false},
      {S::CANCELLED, "", Outcome::kLost, Code::kUnavailable, Code::kUncertain, true, false},
      {S::DEADLINE_EXCEEDED, "", Outcome::kLate, Code::kDeadline, Code::kUncertain, true, false},
      {S::INTERNAL, "", Outcome::kLost, Code::kInternal, Code::kUncertain, true, false},
      {S::UNKNOWN, "", Outcome::kLost, Code::kInternal, Code::kUncertain, true, false},
  }));
  CAPTURE(row.code, row.message);
  const Verdict verdict = Judge({row.code, row.message});
  CHECK(verdict.outcome == row.outcome);
  CHECK(verdict.status.code() == row.read);
  CHECK(OfWrite(verdict).code() == row.write);
  CHECK(MayReadElsewhere(verdict.outcome) == row.read_elsewhere);
  CHECK(MayWriteElsewhere(verdict.outcome) == row.write_elsewhere);
}

TEST_CASE("a write that the client itself cancelled may have been applied") {
  CHECK(Judge({S::CANCELLED, "CANCELLED"}, true).outcome == Outcome::kLost);
}

TEST_CASE("messages are short and printable") {
  const Verdict refused =
      Judge({S::UNAVAILABLE,
             "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to "
             "connect to remote host: Connection refused"});
  CHECK(refused.status.message() == "connection refused");
  const std::string no_connection =
      "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: ";
  CHECK(Judge({S::UNAVAILABLE, no_connection + "Ssl handshake failed: SSL_ERROR_SSL: "
                                               "error:0A000086:SSL routines::certificate verify "
                                               "failed"})
            .status.message() ==
        "TLS: certificate verify failed: it is expired, not valid yet, or not of an authority that "
        "is trusted");
  CHECK(Judge({S::UNAVAILABLE, no_connection + "Custom verification check failed with error: "
                                               "UNAUTHENTICATED: no matching name"})
            .status.message() == "TLS: no matching name");
  const Verdict hostile = Judge({S::INVALID_ARGUMENT, "\x1b[2J" + std::string(100'000, 'x')});
  CHECK(hostile.status.message().size() <= 200);
  CHECK(hostile.status.message().starts_with("?[2J"));
}

}  // namespace
}  // namespace podmirror::client
