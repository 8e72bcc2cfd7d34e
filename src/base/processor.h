// YieldProcessor is for long pieces of work that other threads of this machine should not wait for.
// Thread safety: any thread.
#pragma once

namespace podmirror {

// Lets another thread that waits for this processor run first. Costs next to nothing when none
// waits. It has no other effect, so that code that the simulation runs may call it.
void YieldProcessor();

}  // namespace podmirror
