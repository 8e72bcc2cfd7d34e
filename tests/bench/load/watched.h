// Writes at one daemon whose event is waited for at another one.
//
// Thread rule: belongs to one thread. Invariant: nothing is on its way between two calls of Write.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "connection.h"
#include "watch_stream.h"

namespace bench {

class Watched {
 public:
  // How long it took from the request to each of them.
  struct Took {
    std::chrono::nanoseconds event;
    std::chrono::nanoseconds answer;
  };

  // Throws what has gone wrong, as Write does.
  Watched(const std::string& write_address, const std::string& watch_address);

  // Sends the request, which puts that key, and waits for the answer and for the event.
  Took Write(std::string_view request, std::string_view key);

 private:
  void TakeEvents();

  Connection writer_;
  Connection watcher_;
  WatchStream stream_;
  std::string awaited_;  // key of the put that is to be told, or "" for the end of the state
  bool told_ = false;
};

}  // namespace bench
