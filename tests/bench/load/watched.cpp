#include "watched.h"

#include <poll.h>

#include <optional>
#include <stdexcept>

namespace bench {

using Clock = std::chrono::steady_clock;

Watched::Watched(const std::string& write_address, const std::string& watch_address)
    : writer_(write_address), watcher_(watch_address), stream_([this](const Event& event) {
        told_ = told_ || (awaited_.empty() ? event.kind == "synced"
                                           : event.kind == "put" && event.key == awaited_);
        return true;
      }) {
  watcher_.Send("GET /v1/watch?type=1 HTTP/1.1\r\nHost: x\r\n\r\n");
  while (!told_) TakeEvents();
}

Watched::Took Watched::Write(std::string_view request, std::string_view key) {
  awaited_ = key;
  told_ = false;
  std::optional<Clock::time_point> answered, told;
  const auto begin = Clock::now();
  writer_.Send(request);
  while (!answered || !told) {
    pollfd wanted[] = {{writer_.socket(), POLLIN, 0}, {watcher_.socket(), POLLIN, 0}};
    if (poll(wanted, 2, 10'000) <= 0) throw std::runtime_error("no answer, or no event");
    const auto now = Clock::now();
    if (wanted[1].revents != 0) {
      TakeEvents();
      if (told_ && !told) told = now;
    }
    if (wanted[0].revents != 0) {
      const std::string_view answer = writer_.Read();
      if (!answer.starts_with("HTTP/1.1 200 ")) throw std::runtime_error(std::string(answer));
      if (HttpComplete(answer)) answered = now;
    }
  }
  return {*told - begin, *answered - begin};
}

void Watched::TakeEvents() {
  watcher_.Clear();
  if (!stream_.Take(watcher_.Read())) throw std::runtime_error(stream_.error());
}

}  // namespace bench
