#include "app/run.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "absl/time/clock.h"
#include "app/daemon.h"
#include "app/log.h"
#include "base/env.h"

namespace podmirror::app {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(5);
// So long writes are refused before the ports close: a client that is told so goes elsewhere, while
// one whose write meets a closing connection cannot know whether it was applied.
constexpr SteadyMs kLeastDrainMs = 250;
// What closing may take when clients or peers hold it up; answers that are on their way need the
// least of it.
constexpr SteadyMs kMostCloseMs = 4000;
constexpr SteadyMs kLeastCloseMs = 1000;

LogLevel LevelOf(const settings::Settings& settings) {
  using enum LogLevel;
  for (const LogLevel level : {kDebug, kWarn, kError}) {
    if (ToString(level) == settings.log_level) return level;
  }
  return kInfo;
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Threads inherit this, so that only the main thread takes the signals that stop us.
void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// The signal that came. From then on another one ends the process, whatever it is doing.
int WaitForStopSignal() {
  const sigset_t signals = StopSignals();
  int number = 0;
  sigwait(&signals, &number);
  for (const int other : {SIGTERM, SIGINT}) std::signal(other, [](int) { _exit(EXIT_FAILURE); });
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  return number;
}

// Until peers have what they lack, and at least drain-delay. Closing ends within drain-timeout too,
// so the hand-over ends before that, though it has half of the time at least. Returns the time that
// is left for closing, in milliseconds.
SteadyMs Drain(Daemon& daemon, const settings::Settings& settings, Env& env) {
  const SteadyMs since = env.now().steady;
  const SteadyMs timeout = settings.drain_timeout.count();
  const SteadyMs least = std::max<SteadyMs>(settings.drain_delay.count(), kLeastDrainMs);
  const SteadyMs most =
      std::max(timeout - std::min(kMostCloseMs, timeout / 2), std::min(least, timeout));
  daemon.BeginDrain();
  for (;;) {
    const SteadyMs elapsed = env.now().steady - since;
    if (elapsed >= most || (elapsed >= least && daemon.drained())) {
      return std::clamp(timeout - elapsed, kLeastCloseMs, kMostCloseMs);
    }
    absl::SleepFor(kPollInterval);
  }
}

}  // namespace

int Run(const settings::Settings& settings, bool check_only) {
  // gRPC would write lines of its own among ours; its failures reach the log as statuses.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  BlockStopSignals();
  Env& env = Env::Real();
  Log log(std::cout, LevelOf(settings),
          settings.log_format == "json" ? LogFormat::kJson : LogFormat::kText, env);
  auto daemon = Daemon::New(settings, log, env);
  if (!daemon.ok()) {
    std::cerr << "podmirrord: " << daemon.status().message() << "\n";
    return 2;
  }
  if (check_only) {
    std::cout << "settings are fine\n";
    return 0;
  }
  SteadyMs close_ms = kLeastCloseMs;
  const Status started = (*daemon)->Start();
  if (started.ok()) {
    const int number = WaitForStopSignal();
    log.Event(LogLevel::kInfo, "stopping", "asked to stop",
              {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
    close_ms = Drain(**daemon, settings, env);
  } else {
    log.Event(LogLevel::kError, "start_failed", started.message());
  }
  if (!(*daemon)->Stop(close_ms)) {
    // What is written to a peer that takes it too slowly. Destroying what it still uses would be
    // worse than leaving it to the kernel.
    log.Event(LogLevel::kWarn, "stopped", "stopped; a peer did not take all in time");
    _exit(started.ok() ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  if (!started.ok()) return 1;
  log.Event(LogLevel::kInfo, "stopped", "stopped");
  return 0;
}

}  // namespace podmirror::app
