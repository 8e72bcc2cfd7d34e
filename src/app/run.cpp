#include "app/run.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "absl/time/clock.h"
#include "app/daemon.h"
#include "app/log.h"
#include "app/stop_signal.h"
#include "base/env.h"

namespace podmirror::app {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(5);
// Writes are refused for at least this long before the ports close: a client whose write is refused
// goes elsewhere, but a client whose connection closes during a write cannot know whether the write
// was applied.
constexpr SteadyMs kLeastDrainMs = 250;
// How much of drain-timeout the delay must leave for the hand-over and for closing: this long, or
// half of drain-timeout if that is less.
constexpr SteadyMs kLeastEndMs = 2000;
// How long closing may take when clients or peers hold it up. It always has kLeastCloseMs, which
// answers on their way to clients need.
constexpr SteadyMs kMostCloseMs = 4000;
constexpr SteadyMs kLeastCloseMs = 1000;
// What the reader of the log may take for the last lines.
constexpr SteadyMs kLastLinesMs = 200;

LogLevel LevelOf(const settings::Settings& settings) {
  using enum LogLevel;
  for (const LogLevel level : {kDebug, kWarn, kError}) {
    if (ToString(level) == settings.log_level) return level;
  }
  return kInfo;
}

// For drain-delay the daemon serves as before; a long delay is cut, so that kLeastEndMs is left of
// drain-timeout. Then comes the hand-over: the daemon refuses writes until its peers have what they
// lack. Closing must end within drain-timeout, too, so the hand-over leaves time for it, but may
// take at least half of what the delay left. Returns the milliseconds that are left for closing.
SteadyMs Drain(Daemon& daemon, const settings::Settings& settings, Env& env) {
  const SteadyMs since = env.now().steady;
  const SteadyMs timeout = settings.drain_timeout.count();
  const SteadyMs delay = std::min<SteadyMs>(settings.drain_delay.count(),
                                            timeout - std::min(kLeastEndMs, timeout / 2));
  daemon.Leave();
  while (env.now().steady - since < delay) absl::SleepFor(kPollInterval);

  const SteadyMs begin = env.now().steady;
  const SteadyMs left = timeout - (begin - since);
  const SteadyMs most =
      std::max(left - std::min(kMostCloseMs, left / 2), std::min(kLeastDrainMs, left));
  daemon.BeginDrain();
  for (;;) {
    const SteadyMs elapsed = env.now().steady - begin;
    if (elapsed >= most || (elapsed >= kLeastDrainMs && daemon.drained())) {
      return std::clamp(left - elapsed - kLastLinesMs, kLeastCloseMs, kMostCloseMs);
    }
    absl::SleepFor(kPollInterval);
  }
}

}  // namespace

int Run(const settings::Loaded& loaded) {
  const settings::Settings& settings = loaded.settings;
  // gRPC would write lines of its own among ours; its failures reach the log as statuses.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  std::signal(SIGPIPE, SIG_IGN);
  BlockStopSignals();
  // A core dump would hold private keys and tokens.
  if (settings.tls()) prctl(PR_SET_DUMPABLE, 0);
  Env& env = Env::Real();
  Log log(STDOUT_FILENO, LevelOf(settings),
          settings.log_format == "json" ? LogFormat::kJson : LogFormat::kText, env);
  auto daemon = Daemon::New(settings, log, env);
  if (!daemon.ok()) {
    std::cerr << "podmirrord: " << daemon.status().message() << "\n";
    return 2;
  }
  if (loaded.check_only) {
    std::cout << "settings are fine\n";
    return 0;
  }
  for (const std::string& warning : loaded.warnings) {
    log.Event(LogLevel::kWarn, "setting_ignored", warning);
  }
  SteadyMs close_ms = kLeastCloseMs;
  const Status started = (*daemon)->Start();
  if (started.ok()) {
    const int number = WaitForStopSignal([&daemon] { (*daemon)->Reload(); });
    log.Event(LogLevel::kInfo, "stopping", "asked to stop",
              {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
    close_ms = Drain(**daemon, settings, env);
  } else {
    log.Event(LogLevel::kError, "start_failed", started.message());
  }
  const int code = started.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
  const bool ended = (*daemon)->Stop(close_ms);
  if (ended && started.ok()) {
    log.Event(LogLevel::kInfo, "stopped", "stopped");
  } else if (!ended) {
    // A stream to a slow peer is still writing, and uses the daemon. Destroying the daemon would be
    // worse than leaving its memory to the kernel.
    log.Event(LogLevel::kWarn, "stopped", "stopped; a peer did not take all in time");
  }
  // A log that nobody reads any more must not be destroyed, either.
  if (!log.Stop(absl::Milliseconds(kLastLinesMs)) || !ended) _exit(code);
  return code;
}

}  // namespace podmirror::app
