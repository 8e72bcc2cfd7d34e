// Runs whole clusters under faults and checks the promises. A failing seed is printed; run it again
// with --seed N --trace to see what happened.
//
//   sim --seeds 200              seeds 1..200, three nodes
//   sim --seed 17 --nodes 5      one seed
#include <charconv>
#include <cstring>
#include <iostream>

#include "sim/sim_run.h"

namespace {

std::uint64_t Number(const char* text) {
  std::uint64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end) {
    std::cerr << "not a number: " << text << "\n";
    std::exit(2);
  }
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t first = 1;
  std::uint64_t count = 100;
  podmirror::sim::SimOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--trace") {
      options.trace = true;
    } else if (i + 1 < argc && flag == "--seed") {
      first = Number(argv[++i]);
      count = 1;
    } else if (i + 1 < argc && flag == "--seeds") {
      count = Number(argv[++i]);
    } else if (i + 1 < argc && flag == "--nodes") {
      options.nodes = static_cast<int>(Number(argv[++i]));
    } else {
      std::cerr << "usage: sim [--seeds N | --seed N] [--nodes N] [--trace]\n";
      return 2;
    }
  }
  std::uint64_t failed = 0;
  std::int64_t simulated_ms = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    options.seed = seed;
    const podmirror::sim::RunResult result = podmirror::sim::RunSeed(options);
    simulated_ms += result.simulated_ms;
    for (const std::string& failure : result.failures) {
      std::cout << "seed " << seed << ": " << failure << "\n";
    }
    failed += result.failures.empty() ? 0 : 1;
  }
  std::cout << count << " seeds, " << failed << " failed, " << simulated_ms / 1000
            << " simulated seconds\n";
  return failed == 0 ? 0 : 1;
}
