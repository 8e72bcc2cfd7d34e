// podmirrord: mirrors a cache between the pods of a service. Exit codes: 0 clean stop, 1 failure,
// 2 bad settings.
#include <iostream>
#include <span>

#include "absl/synchronization/mutex.h"
#include "app/run.h"
#include "settings/settings.h"

int main(int argc, char** argv) {
  using namespace podmirror;
  // Debian's Abseil looks for deadlocks (cycles of locks) at every lock. The daemon turns this off;
  // all tests but the simulation leave it on.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const std::span<const char* const> arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  const auto loaded = settings::Load(arguments, settings::Surroundings::Real());
  if (!loaded.ok()) {
    std::cerr << "podmirrord: " << loaded.status().message() << "\n";
    return 2;
  }
  if (!loaded->print.empty()) {
    std::cout << loaded->print;
    return 0;
  }
  return app::Run(*loaded);
}
