#include <catch2/catch.hpp>
#include <string>

#include "net/grpc_channel.h"
#include "net/grpc_status.h"

namespace podmirror::net {
namespace {

std::string Message(const std::string& from_grpc) {
  return FromGrpc({grpc::StatusCode::UNAVAILABLE, from_grpc}).message();
}

TEST_CASE("gRPC's accounts become short and for people") {
  CHECK(Message("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
                "Failed to connect to remote host: Connection refused") == "connection refused");
  CHECK(Message("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.255.0.1:1: "
                "Failed to connect to remote host: FD Shutdown") == "connect timed out");
  CHECK(Message("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:2379: Ssl "
                "handshake failed: SSL_ERROR_SSL: error:0A000086:SSL routines::certificate verify "
                "failed") == "TLS: certificate verify failed");
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

TEST_CASE("gRPC is told addresses only, in one way") {
  PodRecord peer;
  peer.ip = "10.0.0.1";
  peer.port = 7070;
  CHECK(GrpcTargetOf(peer).value() == "ipv4:10.0.0.1:7070");
  peer.ip = "fd00::1";
  CHECK(GrpcTargetOf(peer).value() == "ipv6:%5Bfd00::1%5D:7070");
  peer.ip = "FD00:0::1";
  CHECK(GrpcTargetOf(peer).value() == "ipv6:%5Bfd00::1%5D:7070");
  peer.ip = "example";
  CHECK(GrpcTargetOf(peer).status().code() == Code::kInvalid);
  peer.ip = "";
  CHECK_FALSE(GrpcTargetOf(peer).ok());
  peer.ip = "10.0.0.1";
  peer.port = 0;
  CHECK_FALSE(GrpcTargetOf(peer).ok());
}

}  // namespace
}  // namespace podmirror::net
