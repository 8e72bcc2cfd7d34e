// What a long piece of work may do for other threads of this machine.
// Thread safety: any thread.
#pragma once

namespace podmirror {

// Lets whoever waits for this processor run first. Costs next to nothing when nobody does; changes
// nothing else, so that a simulation may come through here.
void YieldProcessor();

}  // namespace podmirror
