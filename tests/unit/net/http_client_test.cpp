#include "net/http_client.h"

#include <catch2/catch.hpp>

namespace podmirror::net {
namespace {

// kNotFound would be taken for an answer, such as that a watch's history is gone.
TEST_CASE("a server whose name is not known is unavailable") {
  HttpClientOptions options;
  options.server.host_port = {.host = "no..name", .port = 1};
  const auto client = NewHttpClient(options, Env::Real());
  REQUIRE(client.ok());
  const auto answer = (*client)->Get({.target = "/", .read_timeout = std::chrono::seconds(1)});
  CHECK(answer.status().code() == Code::kUnavailable);
  CHECK(answer.status().message() == "Name or service not known");
}

}  // namespace
}  // namespace podmirror::net
