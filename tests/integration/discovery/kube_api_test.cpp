// How the source for the Kubernetes API follows a server that does its work;
// kube_api_faults_test.cpp has those that do not.
#include <absl/strings/match.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "fake_kube_api.h"
#include "recorder.h"
#include "unit/discovery/fixtures.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;
using End = KubeReply::End;

std::string Captured(const std::string& name) {
  return Fixture("kube-apiserver-1.20.2/api/" + name);
}

KubeReply JsonReply(const std::string& file, int status = 200) {
  return {.status = status, .body = Captured(file), .type = "application/json"};
}

Result<std::unique_ptr<PeerSource>> Source(const FakeKubeApi& api, telemetry::Metrics& metrics) {
  return NewKubeApiSource(api.options(), FilterFor("default", "relay"), metrics, Env::Real());
}

std::vector<KubeRequest> Watches(const FakeKubeApi& api) {
  std::vector<KubeRequest> watches;
  for (const KubeRequest& request : api.requests()) {
    if (request.watch) watches.push_back(request);
  }
  return watches;
}

TEST_CASE("kube: captured protobuf answers, a page that is gone, an end and an expired revision") {
  telemetry::Metrics metrics;
  FakeKubeApi api(
      [](const KubeRequest& request) -> KubeReply {
        if (!request.continue_token.empty()) return JsonReply("error-continue-expired.json", 410);
        return {.body = Captured(request.limit == "500" ? "podlist-page1.pb" : "podlist.pb")};
      },
      [](const KubeRequest& request) -> KubeReply {
        if (request.number == 1) return {.body = Captured("watch.pbstream")};
        if (request.number == 2) return {.body = Captured("watch-expired.pbstream")};
        return StayingWatch();
      });
  PodFilter filter = FilterFor("peers", "");
  filter.selector = "app=relay, track in (stable)";
  Running source(NewKubeApiSource(api.options(), filter, metrics, Env::Real()));
  REQUIRE(api.WaitForWatches(3));
  REQUIRE(source.WaitForNames({"c-running-ready", "d-running-notready",
                               "f-two-containers-one-terminated", "k-dualstack", "l-ipv6-only",
                               "m-hostnetwork", "o-readiness-gate-false"}));
  CHECK(source.seen().errors.empty());
  CHECK(source.seen().unreadable.empty());
  CHECK(source.seen().set->where == "/api/v1/namespaces/peers/pods");

  const std::string selector = "&labelSelector=app%3Drelay%2C%20track%20in%20%28stable%29";
  const std::string path = "/api/v1/namespaces/peers/pods?limit=";
  const std::string token =
      "&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjQwLCJzdGFydCI6ImUtY3Jhc2hsb29wXHUwMDAwIn0";
  std::vector<std::string> lists;
  for (const KubeRequest& request : api.requests()) {
    CHECK(absl::StartsWith(request.accept, "application/vnd.kubernetes.protobuf"));
    CHECK(request.authorization.empty());
    if (!request.watch) lists.push_back(request.target);
  }
  CHECK(lists == std::vector<std::string>{path + "500" + selector, path + "500" + selector + token,
                                          path + "0" + selector, path + "500" + selector,
                                          path + "500" + selector + token, path + "0" + selector});
  const std::vector<KubeRequest> watches = Watches(api);
  CHECK(watches[0].revision == "240");
  CHECK(watches[1].revision == "246");  // the bookmark's, without a list between
  CHECK(watches[2].revision == "240");  // after the list that the 410 led to
  CHECK(absl::StrContains(watches[0].target, "allowWatchBookmarks=true"));
  CHECK(absl::StrContains(watches[0].target, selector));
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("kube: captured JSON answers, when the API does not speak protobuf") {
  telemetry::Metrics metrics;
  FakeKubeApi api(
      [](const KubeRequest& request) {
        return JsonReply(request.continue_token.empty() ? "podlist-nolabels-page1.json"
                                                        : "podlist-nolabels-page2.json");
      },
      [](const KubeRequest& request) -> KubeReply {
        KubeReply reply = JsonReply("watch-nolabels.json");
        if (request.number == 1) {
          reply.body.resize(reply.body.find("\"DELETED\"") - 8);  // the third event is the last
          return reply;
        }
        if (request.number == 2) return JsonReply("watch-expired.json");
        reply.body = request.number == 3 ? Captured("watch-nolabels.json") : "";
        reply.end = End::kStay;
        return reply;
      });
  Running source(
      NewKubeApiSource(api.options(), FilterFor("peers-two", "nolabel"), metrics, Env::Real()));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.revision == 256; }));
  CHECK(source.seen().names() == Names{"nolabel-0", "nolabel-1"});
  CHECK(source.seen().set->peers[0].ip == "10.1.1.1");
  CHECK(source.seen().errors.empty());
  CHECK(source.seen().unreadable.empty());
  const std::vector<KubeRequest> watches = Watches(api);
  CHECK(watches[0].revision == "252");
  CHECK(watches[1].revision == "255");
  CHECK(watches[2].revision == "252");
  CHECK(api.lists() == 4);
}

TEST_CASE("kube: pods added, changed, deleted and unreadable") {
  telemetry::Metrics metrics;
  FakeKubeApi api([](const KubeRequest&) { return ListOf({PodBytes(1, 5)}, 10); },
                  [](const KubeRequest&) { return StayingWatch(); });
  Running source(Source(api, metrics));
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(api.WaitForWatches(1));
  api.Push(EventBytes("ADDED", PodBytes(2, 11)) + EventBytes("ADDED", PodBytes(3, 12)));
  REQUIRE(source.WaitForNames({"relay-1", "relay-2", "relay-3"}, milliseconds(1000)));
  api.Push(EventBytes("MODIFIED", PodBytes(1, 13, "10.9.9.9")));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.set->peers[0].ip == "10.9.9.9"; },
                         milliseconds(1000)));
  api.Push(EventBytes("MODIFIED", PodBytes(1, 14) + "\xff\xff"));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.unreadable.size() == 1; }));
  CHECK(source.seen().unreadable.begin()->first == "/api/v1/namespaces/default/pods/relay-1");
  CHECK(source.seen().set->peers[0].ip == "10.9.9.9");
  api.Push(EventBytes("BORED", "of a later version"));
  // The revision of a deletion may be that of the last change.
  api.Push(EventBytes("DELETED", PodBytes(2, 11)));
  api.Push(EventBytes("DELETED", PodBytes(77, 15)));
  api.Push(BookmarkBytes(90));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.revision == 90; }));
  CHECK(source.seen().names() == Names{"relay-1", "relay-3"});
  CHECK(source.seen().errors.empty());
  CHECK(api.lists() == 1);
  CHECK(api.watches() == 1);
}

TEST_CASE("kube: an API that does not know the selector gives no others for peers") {
  telemetry::Metrics metrics;
  std::string other = PodBytes(2, 6);
  other.replace(other.find("stable"), 6, "canary");
  FakeKubeApi api(
      [&](const KubeRequest&) {
        return ListOf({PodBytes(1, 5), other}, 10);
      },
      [](const KubeRequest&) { return StayingWatch(); });
  PodFilter filter = FilterFor("default", "");
  filter.selector = "track=stable";
  Running source(NewKubeApiSource(api.options(), filter, metrics, Env::Real()));
  CHECK(source.WaitForNames({"relay-1"}));
}

TEST_CASE("kube: a refresh ends the watch and lists again, at most once a second") {
  telemetry::Metrics metrics;
  FakeKubeApi api([](const KubeRequest&) { return ListOf({}, 10); },
                  [](const KubeRequest&) { return StayingWatch(); });
  const Stopwatch stopwatch;
  Running source(Source(api, metrics));
  REQUIRE(source.RefreshUntilAnswers(4));
  CHECK(stopwatch.ms() >= 2990);
  CHECK(stopwatch.ms() < 6000);
  CHECK(source.WaitFor([&](const Seen&) { return api.open_watches() == 1; }));
  CHECK(source.seen().errors.empty());
  CHECK(source.TimeStop() < milliseconds(1000));
}

TEST_CASE("kube: the token is sent, read again when it is refused, and never told") {
  telemetry::Metrics metrics;
  const std::string file = "kube_token_" + std::to_string(getpid());
  // Whole at once, as a kubelet replaces it.
  const auto write = [&](const std::string& token) {
    std::ofstream(file + ".new") << token << "\n";
    static_cast<void>(std::rename((file + ".new").c_str(), file.c_str()));
  };
  write("secret-one");
  std::atomic<bool> first_is_good = true;
  const auto guarded = [&](const KubeRequest& request, const KubeReply& reply) {
    const std::string good = first_is_good ? "Bearer secret-one" : "Bearer secret-two";
    if (request.authorization == good) return reply;
    if (request.authorization == "Bearer secret-one") write("secret-two");
    return Refuse(401, "who is " + request.authorization + "?");
  };
  FakeKubeApi api(
      [&](const KubeRequest& request) { return guarded(request, ListOf({PodBytes(1, 5)}, 10)); },
      [&](const KubeRequest& request) { return guarded(request, StayingWatch()); });
  KubeApiOptions options = api.options();
  options.token_file = file;
  Running source(NewKubeApiSource(options, FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"relay-1"}));
  first_is_good = false;
  source->Refresh();  // refused with the first token, which is replaced while that is under way
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers >= 2; }));
  CHECK(source.seen().errors.empty());
  CHECK(api.requests().back().authorization == "Bearer secret-two");
  write("secret-bad");
  source->Refresh();
  REQUIRE(source.WaitFor([](const Seen& seen) { return !seen.errors.empty(); }));
  const std::string error = source.seen().errors[0];
  INFO(error);
  CHECK(absl::StrContains(error, "the token is not accepted (kube-token-file " + file + ")"));
  CHECK_FALSE(absl::StrContains(error, "secret"));
  CHECK(source.seen().names() == Names{"relay-1"});
  write("no\rtoken");
  REQUIRE(source.WaitFor(
      [](const Seen& seen) { return absl::StrContains(seen.errors.back(), "holds no token"); }));
  write("secret-two");
  const int answers = source.seen().answers;
  REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.answers > answers; }));
  std::remove(file.c_str());
}

TEST_CASE("kube: settings that cannot work are named") {
  telemetry::Metrics metrics;
  const auto error = [&](const KubeApiOptions& options) {
    const auto source =
        NewKubeApiSource(options, FilterFor("default", "relay"), metrics, Env::Real());
    REQUIRE_FALSE(source.ok());
    CHECK(source.status().code() == Code::kInvalid);
    return source.status().message();
  };
  CHECK(absl::StartsWith(error({.url = "ftp://a:1"}), "kube-api-url: "));
  CHECK(absl::StrContains(error({.url = "http://10.0.0.1:80"}), "show the token to everybody"));
  CHECK(absl::StrContains(error({.url = "http://localhost:80"}), "loopback"));
  CHECK(absl::StartsWith(error({.url = "http://127.0.0.1:1", .token_file = "/none"}),
                         "kube-token-file: /none"));
  CHECK(absl::StartsWith(error({.url = "https://127.0.0.1:1", .ca_file = "/none"}),
                         "kube-ca: /none"));
  CHECK(error({.url = "https://127.0.0.1:1", .ca_file = "/etc/passwd"}) ==
        "kube-ca: /etc/passwd holds no certificate in PEM");
  CHECK(absl::StartsWith(error({.url = "http://127.0.0.1:1", .ca_file = "/etc/passwd"}),
                         "kube-ca: no use"));
}

}  // namespace
}  // namespace podmirror::discovery
