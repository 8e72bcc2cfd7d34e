// WatchCall is a watch of the application's, for as long as it goes on: at one daemon, and then at
// another one.
// Thread safety: Run once, by one thread.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "base/status.h"
#include "client/calls.h"
#include "client/entry.h"
#include "client/fleet.h"
#include "client/verdict.h"
#include "podmirror/v1/cache.pb.h"

namespace podmirror::client {

class WatchCall {
 public:
  // All must outlive this. The rest is as client.h has it.
  WatchCall(Fleet& fleet, Calls& calls, v1::WatchRequest request, std::chrono::milliseconds give_up,
            const std::function<bool(WatchEvent)>& each)
      : fleet_(fleet),
        calls_(calls),
        request_(std::move(request)),
        give_up_ms_(give_up.count()),
        each_(each) {}

  Status Run();

 private:
  Verdict Read(const Pool::Choice& choice, const Credentials::State& with);

  Fleet& fleet_;
  Calls& calls_;
  v1::WatchRequest request_;
  const SteadyMs give_up_ms_;
  const std::function<bool(WatchEvent)>& each_;
  SteadyMs heard_at_ = 0;
  bool enough_ = false;  // says each_
};

}  // namespace podmirror::client
