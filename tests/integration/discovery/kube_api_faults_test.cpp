// What the source for the Kubernetes API does when the server refuses, breaks off, is silent or
// talks nonsense: the last known peers stay, the reason is told, and requests never chase each
// other.
#include <absl/strings/match.h>

#include <catch2/catch.hpp>

#include "fake_kube_api.h"
#include "recorder.h"
#include "unit/discovery/fixtures.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;
using End = KubeReply::End;

// Two pods at revision 10.
KubeReply GoodList(const KubeRequest&) { return ListOf({PodBytes(1, 5), PodBytes(2, 6)}, 10); }
const Names kGoodNames = {"relay-1", "relay-2"};

KubeReply Staying(const KubeRequest&) { return StayingWatch(); }

struct Setup {
  Setup(FakeKubeApi::Answer list, FakeKubeApi::Answer watch, milliseconds quiet_limit = {})
      : api(std::move(list), std::move(watch)), source([&] {
          KubeApiOptions options = api.options();
          if (quiet_limit.count() > 0) options.quiet_limit = quiet_limit;
          return NewKubeApiSource(options, FilterFor("default", "relay"), metrics, Env::Real());
        }()) {}

  bool WaitForError(const std::string& text) {
    return source.WaitFor([&](const Seen& seen) {
      return !seen.errors.empty() && absl::StrContains(seen.errors.back(), text);
    });
  }
  // How many requests come within `span`.
  int RequestsWithin(milliseconds span) {
    const int before = api.lists() + api.watches();
    source.WaitFor([](const Seen&) { return false; }, span);
    return api.lists() + api.watches() - before;
  }

  telemetry::Metrics metrics;
  FakeKubeApi api;
  Running source;
};

// Back-off waits 100 ms at least, then 200, 400, 800: no more than so many attempts in two seconds.
constexpr milliseconds kSpan{2000};
constexpr int kAttempts = 6;

TEST_CASE("kube: who may not list is told which rule is missing") {
  Setup setup(
      [](const KubeRequest&) {
        return Refuse(
            403,
            "pods is forbidden: User \"system:serviceaccount:default:mirror\" cannot list "
            "resource \"pods\" in API group \"\" in the namespace \"default\"");
      },
      Staying);
  REQUIRE(setup.WaitForError("not allowed to list pods in namespace default"));
  const std::string error = setup.source.seen().errors[0];
  INFO(error);
  CHECK(absl::StrContains(error, "a Role there with resources [pods] of the core API group"));
  CHECK(absl::StrContains(error, "verbs [get, list, watch]"));
  CHECK(absl::StrContains(error, "RoleBinding to ServiceAccount default/mirror"));
  CHECK(absl::StrContains(error, "HTTP 403: pods is forbidden"));
  CHECK(setup.RequestsWithin(kSpan) <= kAttempts);
  CHECK(setup.source.seen().errors.size() == 1);
  CHECK_FALSE(setup.source.seen().set.has_value());
  CHECK(setup.source.TimeStop() < milliseconds(1000));
}

TEST_CASE("kube: a captured refusal of somebody without a name") {
  Setup setup(
      [](const KubeRequest&) -> KubeReply {
        return {.status = 403,
                .body = Fixture("kube-apiserver-1.20.2/api/error-anonymous.json"),
                .type = "application/json"};
      },
      Staying);
  CHECK(setup.WaitForError("RoleBinding to user system:anonymous"));
}

TEST_CASE("kube: who may list but not watch is told, keeps the peers, and goes on when he may") {
  std::atomic<bool> allowed = false;
  Setup setup(GoodList, [&](const KubeRequest&) {
    return allowed ? StayingWatch() : Refuse(403, "pods is forbidden: User \"x\" cannot watch");
  });
  REQUIRE(setup.WaitForError("not allowed to watch pods in namespace default"));
  CHECK(setup.RequestsWithin(kSpan) <= kAttempts);
  CHECK(setup.api.lists() == 1);  // a list would look as if all were in order
  CHECK(setup.source.seen().names() == kGoodNames);
  CHECK(setup.source.seen().errors.size() == 1);
  const int answers = setup.source.seen().answers;
  allowed = true;
  CHECK(setup.source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }));
}

TEST_CASE("kube: a watch from a revision that is gone lists again, whichever way it is said") {
  const bool as_event = GENERATE(true, false);
  Setup setup(GoodList, [&](const KubeRequest& request) -> KubeReply {
    if (request.number > 2) return StayingWatch();
    return as_event ? KubeReply{.body = ErrorBytes(410, "Expired")} : Refuse(410, "too old");
  });
  REQUIRE(setup.api.WaitForWatches(3));
  CHECK(setup.api.lists() == 3);
  CHECK(setup.source.seen().names() == kGoodNames);
  CHECK(setup.source.seen().errors.empty());
}

TEST_CASE("kube: a revision that is always gone does not make lists chase each other") {
  Setup setup(GoodList, [](const KubeRequest&) { return Refuse(410, "too old"); });
  REQUIRE(setup.source.WaitForNames(kGoodNames));
  CHECK(setup.RequestsWithin(kSpan) <= 2 * kAttempts);
}

TEST_CASE("kube: who is asked to come back later does, after a list and in a watch") {
  const std::string where = GENERATE("list", "watch", "event");
  INFO(where);
  const auto busy = [&](const KubeRequest& request, KubeReply good) -> KubeReply {
    if (where == "event") return {.body = ErrorBytes(429, "TooManyRequests", 2)};
    if ((where == "watch") != request.watch) return good;
    KubeReply reply = Refuse(429, "too many");
    reply.retry_after = "2";
    return reply;
  };
  Setup setup(
      [&](const KubeRequest& request) {
        return where == "list" && request.number <= 2 ? busy(request, {}) : GoodList(request);
      },
      [&](const KubeRequest& request) {
        return where != "list" && request.number <= 2 ? busy(request, {}) : StayingWatch();
      });
  // A refresh is no reason to come sooner. One that ends a watch before its answer was read would
  // take away what the answer asks for: only such come as find the source waiting.
  const auto waiting = [&] {
    const std::vector<KubeRequest> requests = setup.api.requests();
    const std::string refused = "type=\"error\"} " + std::to_string(setup.api.watches());
    return !requests.empty() && requests.back().watch == (where != "list") &&
           std::chrono::steady_clock::now() - requests.back().at < milliseconds(500) &&
           (where == "list" || absl::StrContains(setup.metrics.Render(), refused));
  };
  REQUIRE(setup.source.WaitFor(
      [&](const Seen&) {
        if (waiting()) setup.source->Refresh();
        return where == "list" ? setup.api.lists() >= 3 : setup.api.watches() >= 3;
      },
      milliseconds(20'000)));
  REQUIRE(setup.source.WaitForNames(kGoodNames));
  std::vector<std::chrono::steady_clock::time_point> times;
  for (const KubeRequest& request : setup.api.requests()) {
    if (request.watch == (where != "list")) times.push_back(request.at);
  }
  constexpr milliseconds kAsked{1999};  // waits count whole milliseconds
  CHECK(times[1] - times[0] >= kAsked);
  CHECK(times[2] - times[1] >= kAsked);
  CHECK(times[2] - times[0] < milliseconds(15'000));
}

TEST_CASE("kube: a server in trouble is asked again and again, but not at once") {
  const int status = GENERATE(500, 503, 404, 302);
  std::atomic<bool> broken = true;
  Setup setup(
      [&](const KubeRequest& request) {
        return broken ? Refuse(status, "the store is gone") : GoodList(request);
      },
      Staying);
  REQUIRE(setup.WaitForError("HTTP " + std::to_string(status) + ": the store is gone"));
  CHECK(setup.RequestsWithin(kSpan) <= kAttempts);
  broken = false;
  REQUIRE(setup.source.WaitForNames(kGoodNames));
}

TEST_CASE("kube: a server that is not there is told and found when it comes") {
  telemetry::Metrics metrics;
  int port = 0;
  KubeApiOptions options;
  {
    FakeKubeApi api(GoodList, Staying);
    port = api.port();
    options = api.options();
  }
  Running source(NewKubeApiSource(options, FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  CHECK(source.seen().errors[0] ==
        "Kubernetes API " + options.url + ": connection refused or no route");
  {
    FakeKubeApi api(GoodList, Staying, nullptr, nullptr, port);
    REQUIRE(source.WaitForNames(kGoodNames));
    REQUIRE(api.WaitForWatches(1));
  }
  const std::size_t errors = source.seen().errors.size();
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.errors.size() > errors; }));
  CHECK(source.seen().names() == kGoodNames);
}

TEST_CASE("kube: a watch that breaks off within an event goes on from the last whole one") {
  const std::string events =
      EventBytes("ADDED", PodBytes(3, 11)) + EventBytes("ADDED", PodBytes(4, 12));
  Setup setup(GoodList, [&](const KubeRequest& request) -> KubeReply {
    if (request.number > 1) return StayingWatch();
    return {.body = events.substr(0, events.size() - 9), .end = End::kCut};
  });
  REQUIRE(setup.api.WaitForWatches(2));
  CHECK(setup.api.requests().back().revision == "11");
  CHECK(setup.source.seen().names() == Names{"relay-1", "relay-2", "relay-3"});
  CHECK(setup.api.lists() == 1);
}

TEST_CASE("kube: events that come byte by byte are put together") {
  Setup setup(GoodList, [](const KubeRequest&) {
    KubeReply reply = StayingWatch();
    for (const char byte : EventBytes("ADDED", PodBytes(3, 11))) reply.pieces.push_back({byte});
    reply.pause = milliseconds(1);
    return reply;
  });
  CHECK(setup.source.WaitForNames({"relay-1", "relay-2", "relay-3"}));
  CHECK(setup.api.watches() == 1);
}

TEST_CASE(
    "kube: a watch without a sign of life is given up, and a list tells whether all is well") {
  Setup setup(GoodList, Staying, milliseconds(1200));
  REQUIRE(setup.source.WaitFor([](const Seen& seen) { return seen.answers >= 2; }));
  CHECK(setup.api.lists() == 2);
  CHECK(setup.source.seen().errors.empty());
  CHECK(setup.source.TimeStop() < milliseconds(1000));
}

TEST_CASE("kube: bookmarks are signs of life") {
  Setup setup(
      GoodList,
      [](const KubeRequest&) {
        KubeReply reply = StayingWatch();
        for (int i = 0; i < 20; ++i) reply.pieces.push_back(BookmarkBytes(20 + i));
        reply.pause = milliseconds(150);
        return reply;
      },
      milliseconds(1000));
  REQUIRE(setup.source.WaitFor([](const Seen& seen) { return seen.revision == 39; }));
  CHECK(setup.api.watches() == 1);
  CHECK(setup.api.lists() == 1);
}

TEST_CASE("kube: watches that end at once do not chase each other") {
  const std::string body = GENERATE(std::string(), BookmarkBytes(20));
  Setup setup(GoodList, [&](const KubeRequest&) -> KubeReply { return {.body = body}; });
  REQUIRE(setup.source.WaitForNames(kGoodNames));
  CHECK(setup.RequestsWithin(kSpan) <= kAttempts + 1);
  CHECK(setup.api.lists() == 1);
  CHECK(setup.source.seen().errors.empty());
}

TEST_CASE("kube: a list that is none is an error, never an empty set") {
  struct Case {
    const char* name;
    KubeReply reply;
  };
  const std::string good = ListBytes({PodBytes(1, 5)}, 10);
  const Case kCases[] = {
      {"nothing", {}},
      {"HTML", {.body = "<html>login</html>", .type = "text/html"}},
      {"noise", {.body = std::string(1000, '\xff')}},
      {"cut protobuf", {.body = good.substr(0, good.size() / 2)}},
      {"cut connection", {.body = good.substr(0, good.size() / 2), .end = End::kCut}},
      {"another kind", {.body = R"({"kind":"NodeList","apiVersion":"v1","items":[]})"}},
      {"no items", {.body = R"({"kind":"PodList","apiVersion":"v1","metadata":{}})"}},
      {"no revision", {.body = R"({"kind":"PodList","apiVersion":"v1","items":[]})"}},
      {"numbers", {.body = R"({"kind":"PodList","apiVersion":"v1",
                    "metadata":{"resourceVersion":"1"},"items":[1,2]})"}},
      {"no name", {.body = R"({"kind":"PodList","apiVersion":"v1",
                    "metadata":{"resourceVersion":"1"},"items":[{"metadata":{}}]})"}},
      {"deep",
       {.body =
            R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":)" +
            std::string(200'000, '[') + std::string(200'000, ']') + "}"}},
      {"long token", {.body = ListBytes({}, 10, std::string(10'000, 'x'))}},
      {"no end", {.body = ListBytes({}, 10, "again")}},
  };
  for (const Case& wanted : kCases) {
    INFO(wanted.name);
    Setup setup([&](const KubeRequest&) { return wanted.reply; }, Staying);
    REQUIRE(setup.source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
    INFO(setup.source.seen().errors[0]);
    CHECK_FALSE(setup.source.seen().set.has_value());
    CHECK(setup.source.TimeStop() < milliseconds(1000));
  }
}

TEST_CASE("kube: a watch of nonsense keeps the peers and does not make requests chase each other") {
  const std::pair<const char*, std::string> kBodies[] = {
      {"HTML", "<html>"},
      {"oversized", std::string("\x00\xff\xff\xff", 4) + std::string(100, 'x')},
      {"no event", std::string("\0\0\0\2\xff\xff", 6)},
      {"another kind", R"({"type":"ADDED","object":{"kind":"Node","apiVersion":"v1"}})"},
      {"no name", R"({"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"}})"},
      {"not an object", R"({"type":"ADDED","object":5} )"},
      {"brackets", "{}}}"},
      {"error of its own", ErrorBytes(500, "InternalError")},
      {"cut", EventBytes("ADDED", PodBytes(3, 11)).substr(0, 20)},
  };
  for (const auto& [name, body] : kBodies) {
    INFO(name);
    Setup setup(GoodList,
                [&body = body](const KubeRequest&) -> KubeReply { return {.body = body}; });
    REQUIRE(setup.source.WaitForNames(kGoodNames));
    CHECK(setup.RequestsWithin(milliseconds(1000)) <= 2 * kAttempts);
    CHECK(setup.source.seen().names() == kGoodNames);
    CHECK(setup.source.TimeStop() < milliseconds(1000));
  }
}

TEST_CASE("kube: answers without an end are cut off") {
  const bool watch = GENERATE(false, true);
  const KubeReply endless = {
      .body = "{\"a\":\"", .pieces = {std::string(1u << 20, 'x')}, .times = 100};
  Setup setup([&](const KubeRequest& request) { return watch ? GoodList(request) : endless; },
              [&](const KubeRequest&) { return endless; });
  // Much is sent until then, which takes its time on a busy machine.
  REQUIRE(setup.source.WaitFor(
      [&](const Seen& seen) {
        if (watch) return absl::StrContains(setup.metrics.Render(), "type=\"error\"");
        return !seen.errors.empty();
      },
      milliseconds(60'000)));
  if (watch) {
    CHECK(setup.source.seen().names() == kGoodNames);
  } else {
    CHECK(absl::StrContains(setup.source.seen().errors[0], "answer too long"));
  }
}

TEST_CASE("kube: stop returns within a second from a server that says nothing") {
  Setup setup([](const KubeRequest&) -> KubeReply { return {.end = End::kStay}; }, Staying);
  REQUIRE_FALSE(
      setup.source.WaitFor([](const Seen& seen) { return seen.answers > 0; }, milliseconds(300)));
  CHECK(setup.source.TimeStop() < milliseconds(1000));
}

}  // namespace
}  // namespace podmirror::discovery
