#include "rpc/grpc_status.h"

#include <catch2/catch.hpp>
#include <string>

#include "rpc/channel.h"

namespace podmirror::rpc {
namespace {

std::string Message(const std::string& from_grpc) {
  return FromGrpc({grpc::StatusCode::UNAVAILABLE, from_grpc}).message();
}

TEST_CASE("gRPC's accounts become short and for people") {
  CHECK(Message("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
                "Failed to connect to remote host: Connection refused") == "connection refused");
  CHECK(Message("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.255.0.1:1: "
                "Failed to connect to remote host: FD Shutdown") == "connect timed out");
  CHECK(Message("Socket closed") == "connection closed by the peer");
  CHECK(Message("not-ready") == "not-ready");
  CHECK(Message(std::string(5000, 'x')).size() == 200);
  CHECK(Message("bad \xff\n bytes") == "bad ?? bytes");
  CHECK(FromGrpc(grpc::Status::OK).ok());
}

TEST_CASE("codes keep their meaning both ways") {
  for (const Code code :
       {Code::kInvalid, Code::kNotFound, Code::kRefused, Code::kUnavailable, Code::kDeadline,
        Code::kExhausted, Code::kUnimplemented, Code::kInternal}) {
    const Status back = FromGrpc(ToGrpc(Status(code, "why")));
    CHECK(back.code() == code);
    CHECK(back.message() == "why");
  }
  CHECK(FromGrpc({grpc::StatusCode::UNKNOWN, "x"}).code() == Code::kInternal);
}

TEST_CASE("peers are dialled by address only") {
  PodRecord peer;
  peer.ip = "10.0.0.1";
  peer.port = 7070;
  CHECK(TargetOf(peer).value() == "ipv4:10.0.0.1:7070");
  peer.ip = "fd00::1";
  CHECK(TargetOf(peer).value() == "ipv6:%5Bfd00::1%5D:7070");
  peer.ip = "example";
  CHECK(TargetOf(peer).status().code() == Code::kInvalid);
  peer.ip = "";
  CHECK_FALSE(TargetOf(peer).ok());
  peer.ip = "10.0.0.1";
  peer.port = 0;
  CHECK_FALSE(TargetOf(peer).ok());
}

}  // namespace
}  // namespace podmirror::rpc
