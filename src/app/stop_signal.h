// The signals that end the process, SIGTERM and SIGINT, and SIGHUP, after which it looks at its
// files again.
// Thread safety: from the main thread.
#pragma once

#include "absl/functional/function_ref.h"

namespace podmirror::app {

// Keeps them back until WaitForStopSignal takes them. Threads inherit this from the
// thread that starts them: call it before any other thread exists.
void BlockStopSignals();

// Waits for SIGTERM or SIGINT, and returns its number. Calls `on_hangup` for each SIGHUP until
// then; a later one has no effect. For the next 2 s the same signal has no effect, since some
// runtimes send it twice. The same signal after that, or the other one at any time, ends the
// process at once with exit code 1, whatever the process is doing.
int WaitForStopSignal(absl::FunctionRef<void()> on_hangup);

}  // namespace podmirror::app
