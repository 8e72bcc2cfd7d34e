#include "base/processor.h"

#include <thread>

namespace podmirror {

void YieldProcessor() { std::this_thread::yield(); }

}  // namespace podmirror
