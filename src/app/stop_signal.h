// The signals that end the process: SIGTERM and SIGINT. SIGHUP changes nothing: certificates and
// passwords are read again for each connection anyway.
// Thread safety: from the main thread.
#pragma once

namespace podmirror::app {

// Keeps the signals for WaitForStopSignal. Threads inherit this: call it before there are any.
void BlockStopSignals();

// Waits for the first one: its number. From then on the same one changes nothing within 2 s, for
// some runtimes send it twice; later, or another one, it ends the process at once with code 1,
// whatever that is doing.
int WaitForStopSignal();

}  // namespace podmirror::app
