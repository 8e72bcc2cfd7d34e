#include "base/status.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>
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
  for (int code = 0; code <= static_cast<int>(Code::kUncertain); ++code, ++codes) {
    names.insert(ToString(static_cast<Code>(code)));
  }
  CHECK(names.size() == static_cast<std::size_t>(codes));
  CHECK_FALSE(names.contains("unknown"));
}

// What the function said to stderr before it aborted; fails when it did not.
std::string LastWords(const std::function<void()>& function) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // Catch2 would report it as its own failure
    dup2(ends[1], STDERR_FILENO);
    function();
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, got);
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  return said;
}

TEST_CASE("a result that is misused aborts and says why") {
  const Result<std::string> bad(Status(Code::kNotFound, "no such pod"));
  const std::string why = "podmirror: a Result without a value was used: not found: no such pod\n";
  CHECK(LastWords([&] { (void)bad.value(); }) == why);
  CHECK(LastWords([&] { (void)bad->size(); }) == why);
  CHECK(LastWords([copy = bad]() mutable { (*copy).clear(); }) == why);
  CHECK(LastWords([] { (void)Result<int>(Status()); }) ==
        "podmirror: a Result without a value was used: ok\n");
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
