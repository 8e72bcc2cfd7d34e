#include "app/stop_signal.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>

#include "base/env.h"

namespace podmirror::app {
namespace {

constexpr SteadyMs kRepeatMs = 2000;

// What the handler needs: which signal came first, and until when it may be repeated.
std::atomic<int> first_signal{0};
std::atomic<SteadyMs> repeated_until{0};

sigset_t OurSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

void OnAnotherSignal(int number) {
  if (number == first_signal && Env::Real().now().steady < repeated_until) return;
  _exit(EXIT_FAILURE);
}

}  // namespace

void BlockStopSignals() {
  const sigset_t signals = OurSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int WaitForStopSignal(absl::FunctionRef<void()> on_hangup) {
  const sigset_t signals = OurSignals();
  int number = 0;
  for (;;) {
    sigwait(&signals, &number);
    if (number != SIGHUP) break;
    on_hangup();
  }
  std::signal(SIGHUP, SIG_IGN);
  first_signal = number;
  repeated_until = Env::Real().now().steady + kRepeatMs;
  for (const int other : {SIGTERM, SIGINT}) std::signal(other, OnAnotherSignal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  return number;
}

}  // namespace podmirror::app
