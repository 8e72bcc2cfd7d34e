#include "rest/accept.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace podmirror::rest {
namespace {

bool Prefers(const std::vector<std::string>& lines) {
  Request request;
  for (const std::string& line : lines) request.fields.push_back({"aCCept", line});
  return Prefers(request, "application/json", "application/octet-stream");
}

TEST_CASE("accept: JSON when it is preferred to the bytes, by quality and the closest range") {
  for (const std::string accept :
       {"application/json", "APPLICATION/JSON", "application/json;charset=utf-8",
        "text/html, application/json;q=0.001", "application/json, */*;q=0.5",
        "application/json;q=0.6,application/octet-stream;q=0.5",
        "application/octet-stream;q=0, */*", "application/octet-stream; Q=0.4, application/*;q=0.5",
        "*/*;q=0.1, application/octet-stream;q=0, application/json;q=0.05",
        "application/json;v=\",;q=0\";q=0.9, application/octet-stream;q=0.5",
        "application/json;v=\"\\\",;q=0\", application/octet-stream;q=0.5",
        "application/json;q=1.000, application/octet-stream;q=0.999",
        "application/octet-stream;q=5, application/json;q=0.1", ",,application/json,"}) {
    CAPTURE(accept);
    CHECK(Prefers({accept}));
  }
}

TEST_CASE("accept: the bytes in every other case") {
  for (const std::string accept : {"",
                                   "*/*",
                                   "application/*",
                                   "text/html",
                                   "application/octet-stream",
                                   "application/json, text/plain, */*",
                                   "application/json;q=0",
                                   "application/json;q=0.0, */*",
                                   "application/json;q=0.5, application/octet-stream;q=0.6",
                                   "application/json;q=0.5, */*",
                                   "application/json, application/octet-stream",
                                   "application/json;q=1.001",
                                   "application/json;q=0.1234",
                                   "application/json;q=-1",
                                   "application/json;q=",
                                   "application/json;q",
                                   "application/jsonp",
                                   "application/json/x",
                                   "text/x-application/json",
                                   "application/problem+json",
                                   "x=\"application/json,\""}) {
    CAPTURE(accept);
    CHECK_FALSE(Prefers({accept}));
  }
}

TEST_CASE("accept: no line wants the bytes, several lines are one list") {
  CHECK_FALSE(Prefers({}));
  CHECK(Prefers({"application/octet-stream;q=0.5", "application/json"}));
  CHECK_FALSE(Prefers({"application/json", "application/octet-stream"}));
}

}  // namespace
}  // namespace podmirror::rest
