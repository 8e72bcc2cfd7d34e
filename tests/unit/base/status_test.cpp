#include "base/status.h"

#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <string>

namespace podmirror {
namespace {

TEST_CASE("a status prints its code and reason") {
  CHECK(Status().ok());
  CHECK(Status().ToString() == "ok");
  const Status status(Code::kUnavailable, "connection refused");
  CHECK_FALSE(status.ok());
  CHECK(status.code() == Code::kUnavailable);
  CHECK(status.message() == "connection refused");
  CHECK(status.ToString() == "unavailable: connection refused");
  CHECK(Status(Code::kDeadline, "").ToString() == "deadline exceeded");
}

TEST_CASE("every code has a name of its own") {
  std::set<std::string_view> names;
  int codes = 0;
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code, ++codes) {
    names.insert(ToString(static_cast<Code>(code)));
  }
  CHECK(names.size() == static_cast<std::size_t>(codes));
  CHECK_FALSE(names.contains("unknown"));
}

TEST_CASE("a result is a value or the reason why there is none") {
  const Result<std::string> good("text");
  REQUIRE(good.ok());
  CHECK(good.value() == "text");
  CHECK(good->size() == 4);
  CHECK(good.status().ok());

  const Result<std::string> bad(Status(Code::kNotFound, "no such pod"));
  CHECK_FALSE(bad.ok());
  CHECK(bad.status().ToString() == "not found: no such pod");

  Result<std::unique_ptr<int>> movable(std::make_unique<int>(7));
  CHECK(*std::move(*movable) == 7);
}

}  // namespace
}  // namespace podmirror
