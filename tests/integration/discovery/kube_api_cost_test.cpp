// What the source for the Kubernetes API costs: time from a change to the peer set, CPU and memory
// of a long list. Prints what it measured.
#include <malloc.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <iostream>

#include "fake_kube_api.h"
#include "process_cost.h"
#include "recorder.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;

double Milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

TEST_CASE("kube: a change is in the peer set soon after its event") {
  telemetry::Metrics metrics;
  FakeKubeApi api([](const KubeRequest&) { return ListOf({PodBytes(1, 5)}, 10); },
                  [](const KubeRequest&) { return StayingWatch(); });
  Running source(
      NewKubeApiSource(api.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(source.WaitForNames({"relay-1"}));
  REQUIRE(api.WaitForWatches(1));
  std::vector<double> times;
  for (int i = 1; i <= 50; ++i) {
    const std::string ip = "10.9.9." + std::to_string(i);
    const auto start = std::chrono::steady_clock::now();
    api.Push(EventBytes("MODIFIED", PodBytes(1, 10 + i, ip)));
    REQUIRE(source.WaitFor([&](const Seen& seen) { return seen.set->peers[0].ip == ip; }));
    times.push_back(Milliseconds(std::chrono::steady_clock::now() - start));
  }
  std::sort(times.begin(), times.end());
  std::cout << "kube: from the event to the peer set: median " << times[25] << " ms, longest "
            << times[49] << " ms\n";
  CHECK(times[25] < 50);
}

TEST_CASE("kube: five thousand pods are listed at small cost, and leave no memory behind") {
  constexpr int kPods = 5000;
  constexpr int kPage = 500;
  std::vector<std::string> pages;
  for (int from = 0; from < kPods; from += kPage) {
    std::vector<std::string> pods;
    for (int i = from; i < from + kPage; ++i) pods.push_back(PodBytes(i + 1, i + 1, "", 1800));
    const int next = from + kPage;
    pages.push_back(ListBytes(pods, kPods, next < kPods ? std::to_string(next / kPage) : ""));
  }
  INFO("bytes of a pod: " << pages[0].size() / kPage);
  CHECK(pages[0].size() / kPage > 1900);
  telemetry::Metrics metrics;
  FakeKubeApi api(
      [&](const KubeRequest& request) -> KubeReply {
        const std::string& at = request.continue_token;
        return {.body = pages[at.empty() ? 0 : std::stoul(at)]};
      },
      [](const KubeRequest&) { return StayingWatch(); });
  Running source(
      NewKubeApiSource(api.options(), FilterFor("default", "relay"), metrics, Env::Real()));
  REQUIRE(api.WaitForWatches(1));
  REQUIRE(source.WaitFor([](const Seen& seen) { return seen.set->peers.size() == kPods; }));
  malloc_trim(0);
  const double before = RssMib();
  // What is known by now is in memory already: a list more must not add to it.
  constexpr int kLists = 5;
  const double cpu = CpuMs();
  for (int i = 1; i <= kLists; ++i) {
    source->Refresh();
    REQUIRE(api.WaitForWatches(1 + i));
  }
  const double list_cpu = (CpuMs() - cpu) / kLists;
  malloc_trim(0);
  const double after = RssMib();
  std::cout << "kube: " << kPods << " pods of " << pages[0].size() / kPage << " bytes: " << list_cpu
            << " ms of CPU for a list, the server's included; resident " << before
            << " MiB before and " << after << " MiB after " << kLists << " more\n";
  CHECK(list_cpu < 300);
  CHECK(after < before + 25);  // five more lists are 50 MB
}

}  // namespace
}  // namespace podmirror::discovery
