#include "discovery/source_thread.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "discovery/etcd_options.h"

namespace podmirror::discovery {
namespace {

using std::chrono::milliseconds;

// Its clock stands, and what it draws is always the same.
class StillEnv final : public Env {
 public:
  explicit StillEnv(std::uint64_t drawn = 0) : drawn_(drawn) {}
  Now now() const override { return {.steady = at, .wall = 0}; }
  std::uint64_t Random() override { return drawn_; }
  SteadyMs at = 1'000'000;

 private:
  const std::uint64_t drawn_;
};

TEST_CASE("daemons of a fleet ask the members of etcd in all orders") {
  EtcdOptions options;
  options.endpoints = {"http://a:1", "http://b:1", "http://c:1"};
  std::set<std::string> orders;
  for (std::uint64_t drawn = 0; drawn < 6; ++drawn) {
    StillEnv env(drawn);
    const Result<CheckedEtcdOptions> checked = CheckEtcdOptions(options, "ns", env);
    REQUIRE(checked.ok());
    std::string order;
    for (const net::BaseUrl& member : checked->endpoints) order += member.host_port.host;
    orders.insert(order);
  }
  CHECK(orders == std::set<std::string>{"abc", "acb", "bac", "bca", "cab", "cba"});
}

TEST_CASE("back-off doubles up to 5 s, each time by chance up to a half less") {
  const std::vector<int> steps = {200, 400, 800, 1600, 3200, 5000, 5000};
  for (const std::uint64_t drawn : {0, 1, 99}) {
    StillEnv env(drawn);
    Backoff backoff(env);
    for (const int step : steps) {
      CHECK(backoff.Next() == milliseconds(step) - milliseconds(drawn));
    }
    backoff.Reset();
    CHECK(backoff.Next() == milliseconds(200 - drawn));
  }
  StillEnv most(39'999);  // the most of every step
  Backoff backoff(most);
  for (const int step : steps) {
    CHECK(backoff.Next() == milliseconds(step / 2 + 1));
  }
}

TEST_CASE("what many do now and then is put off by chance, up to a quarter") {
  StillEnv none(0);
  StillEnv most(250);
  StillEnv over(251);
  CHECK(SourceThread(none, [] {}).WithJitter(milliseconds(1000)) == milliseconds(1000));
  CHECK(SourceThread(most, [] {}).WithJitter(milliseconds(1000)) == milliseconds(1250));
  CHECK(SourceThread(over, [] {}).WithJitter(milliseconds(1000)) == milliseconds(1000));
}

TEST_CASE("a refresh reads at once, but no sooner than a second after the last reading") {
  StillEnv env;
  int woken = 0;
  SourceThread thread(env, [&] { ++woken; });
  const SteadyMs planned = env.at + 300'000;
  CHECK(thread.ReadDue(planned) == planned);
  thread.Refresh();
  CHECK(woken == 1);
  CHECK(thread.ReadDue(planned) <= env.at);

  thread.BeginRead();
  const SteadyMs read = env.at;
  CHECK(thread.ReadDue(planned) == planned);
  env.at += 400;
  thread.Refresh();
  CHECK(thread.ReadDue(planned) == read + kMinReadInterval.count());
  CHECK(thread.ReadDue(read + 500) == read + 500);

  env.at += 600;
  CHECK(thread.SleepUntil(planned));  // it is time: nobody waits
  thread.BeginRead();
  CHECK(thread.ReadDue(planned) == planned);
}

}  // namespace
}  // namespace podmirror::discovery
