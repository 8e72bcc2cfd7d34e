// The signals that end the process: SIGTERM and SIGINT. SIGHUP changes nothing: certificates and
// passwords are read again for each connection anyway.
// Thread safety: from the main thread.
#pragma once

namespace podmirror::app {

// Keeps SIGTERM and SIGINT back until WaitForStopSignal takes them. Threads inherit this from the
// thread that starts them: call it before any other thread exists.
void BlockStopSignals();

// Waits for SIGTERM or SIGINT, and returns its number. For the next 2 s the same signal has no
// effect, since some runtimes send it twice. The same signal after that, or the other one at any
// time, ends the process at once with exit code 1, whatever the process is doing.
int WaitForStopSignal();

}  // namespace podmirror::app
