// The life of the process from good settings to its exit code.
#pragma once

#include "settings/settings.h"

namespace podmirror::app {

// Runs a daemon until SIGTERM or SIGINT, then drains and stops it (see stop_signal.h for a second
// signal). Returns the exit code: 0 clean stop, 1 failure, 2 bad settings. With
// `loaded.check_only` nothing is started. Requires: called once, from the main thread, before any
// other thread exists.
int Run(const settings::Loaded& loaded);

}  // namespace podmirror::app
