// Runs whole clusters under faults and checks the promises. A failing seed is printed with its
// plan; run it again with --seed N --trace to see what happened.
//
//   sim --seeds 200 [--first 1]  that many seeds, each with a plan of its own
//   sim --seed 17 --nodes 5      one seed
//   sim --seeds 50 --story old   seeds that all tell this story (sim_plan.h), whatever they draw
//   sim --together 64            that many pods start at once, without faults
#include <sys/resource.h>

#include <algorithm>
#include <iostream>

#include "CLI/CLI.hpp"
#include "absl/synchronization/mutex.h"
#include "sim/sim_plan.h"
#include "sim/sim_run.h"

namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  // One thread: nothing to be found, and it would be most of the time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  CLI::App app{"Simulates clusters under faults and checks the promises."};
  std::uint64_t first = 1;
  std::uint64_t count = 100;
  std::uint64_t only = 0;
  int nodes = 0;
  int together = 0;
  std::string story;
  podmirror::sim::RunOptions options;
  app.add_option("--seeds", count, "how many seeds");
  app.add_option("--first", first, "the first of them");
  app.add_option("--seed", only, "this seed alone");
  app.add_option("--nodes", nodes, "pods, in place of what the seed says");
  app.add_option("--together", together, "so many pods start at once, without faults");
  app.add_option("--story", story, "tell this one, whatever the seed draws")
      ->check(CLI::IsMember(std::vector<std::string>(podmirror::sim::kStoryNames.begin(),
                                                     podmirror::sim::kStoryNames.end())));
  app.add_flag("--trace", options.trace, "print what happens");
  CLI11_PARSE(app, argc, argv);
  if (only != 0) {
    first = only;
    count = 1;
  }
  if (nodes > 0) options.nodes = nodes;
  if (!story.empty()) {
    const auto& names = podmirror::sim::kStoryNames;
    options.story = static_cast<podmirror::sim::Story>(
        std::find(names.begin(), names.end(), story) - names.begin());
  }
  if (together > 0) {
    options.nodes = together;
    options.together = true;
    count = 1;
  }
  std::uint64_t failed = 0;
  std::uint64_t writes = 0;
  podmirror::sim::Answers answers;
  std::int64_t simulated_ms = 0;
  const double begin = CpuSeconds();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    options.seed = seed;
    const podmirror::sim::RunResult result = podmirror::sim::RunSeed(options);
    simulated_ms += result.simulated_ms;
    writes += result.writes;
    answers += result.answers;
    if (result.failures.empty()) continue;
    ++failed;
    std::cout << "seed " << seed << " (" << result.plan << ")\n";
    for (const std::string& failure : result.failures) std::cout << "  " << failure << "\n";
    std::cout << std::flush;
  }
  const double cpu = CpuSeconds() - begin;
  std::cout << "on conditions: " << answers.done << " done, " << answers.conflict << " lost, "
            << answers.failed << " refused, " << answers.open << " left open\n";
  std::cout << count << " seeds, " << failed << " failed, " << writes << " writes, "
            << simulated_ms / 1000 << " simulated seconds in " << cpu
            << " s of CPU: " << static_cast<double>(simulated_ms) / 1000 / cpu << " per second\n";
  return failed == 0 ? 0 : 1;
}
